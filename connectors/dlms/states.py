"""Where a conversation with a meter can stand, and every way from one state to the next.

    IDLE           nothing has been sent
    CONNECTING     SNRM is out, UA is awaited (HDLC only)
    ASSOCIATING    AARQ is out, AARE is awaited
    PROVING        our answer to the meter's challenge is out, its answer to ours is awaited (high authentication only)
    ASSOCIATED     the meter waits for us
    READING        a GET, or with short names a READ, is out; its answer or a part of it is awaited
    RELEASING      RLRQ is out, RLRE is awaited
    CONNECTED      the link is up without an association: after RLRE, an AARE that says no, or a message that is not authentic
    DISCONNECTING  DISC is out, UA is awaited (HDLC only)
    CLOSED         over; only `open` leads on

Everything that affects transitions is in `TRANSITIONS`. What the caller does outside of the table is a mistake of ours
(`LocalProtocolError`); what a meter sends outside of it is discarded, because the leftovers of an earlier connection look
just like that.
"""

from __future__ import annotations

from enum import Enum


class LocalProtocolError(Exception):
    """The caller asked for something that the state of the conversation does not allow: a mistake of ours, not the meter's."""


class State(Enum):
    """Where a conversation stands; explained at the top of this file."""

    IDLE = "idle"
    CONNECTING = "connecting"
    ASSOCIATING = "associating"
    PROVING = "proving"
    ASSOCIATED = "associated"
    READING = "reading"
    RELEASING = "releasing"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"
    CLOSED = "closed"


class Did(Enum):
    """What moves a conversation on: first what we do, then what the meter does."""

    SEND_SNRM = "open the data link"
    SEND_AARQ = "associate"
    SEND_GET = "get"
    SEND_RLRQ = "release"
    SEND_DISC = "disconnect"
    HANG_UP = "close the link"
    PRESUME = "use a pre-established association"
    UA = "UA"
    ACCEPT = "AARE"
    CHALLENGE = "a challenge"
    PROVE = "a proof"
    REFUSE = "a refusal of the association"
    PART = "a block of an answer"
    ANSWER = "an answer"
    REFUSE_SERVICE = "a refusal of the service"
    RELEASE = "RLRE"
    VIOLATE = "a message that is not authentic"
    LINK_DOWN = "UA to DISC"
    END = "the end of the link or association"


OPEN_STATES = (State.CONNECTING, State.ASSOCIATING, State.PROVING, State.ASSOCIATED, State.READING, State.RELEASING, State.CONNECTED)

TRANSITIONS: dict[tuple[State, Did], State] = {
    **{(state, Did.SEND_SNRM): State.CONNECTING for state in State},
    (State.CONNECTING, Did.UA): State.ASSOCIATING,
    **{(state, Did.SEND_AARQ): State.ASSOCIATING for state in State},
    **{(state, Did.PRESUME): State.ASSOCIATED for state in State},
    (State.ASSOCIATING, Did.ACCEPT): State.ASSOCIATED,
    (State.ASSOCIATING, Did.REFUSE): State.CONNECTED,
    (State.ASSOCIATING, Did.CHALLENGE): State.PROVING,
    (State.PROVING, Did.PROVE): State.ASSOCIATED,
    (State.PROVING, Did.REFUSE): State.CONNECTED,
    (State.ASSOCIATED, Did.SEND_GET): State.READING,
    (State.READING, Did.PART): State.READING,
    (State.READING, Did.ANSWER): State.ASSOCIATED,
    (State.READING, Did.REFUSE_SERVICE): State.ASSOCIATED,
    (State.ASSOCIATED, Did.SEND_RLRQ): State.RELEASING,
    (State.READING, Did.SEND_RLRQ): State.RELEASING,
    (State.RELEASING, Did.RELEASE): State.CONNECTED,
    **{(state, Did.VIOLATE): State.CONNECTED for state in (State.ASSOCIATING, State.PROVING, State.READING, State.RELEASING)},
    **{(state, Did.SEND_DISC): State.DISCONNECTING for state in (*OPEN_STATES, State.DISCONNECTING)},
    **{(state, Did.HANG_UP): State.CLOSED for state in State},
    (State.DISCONNECTING, Did.LINK_DOWN): State.CLOSED,
    **{(state, Did.END): State.CLOSED for state in (*OPEN_STATES, State.DISCONNECTING)},
}

SECURED = (State.PROVING, State.ASSOCIATED, State.READING, State.RELEASING)
"""Where messages of a ciphered association are protected."""

WAITING = (State.CONNECTING, State.ASSOCIATING, State.PROVING, State.READING, State.RELEASING, State.DISCONNECTING)
