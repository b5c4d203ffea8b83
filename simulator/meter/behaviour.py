"""What a virtual meter does wrong: one dataclass, every field of which may be changed while the meter runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

ATTACKS = (
    "flipped_tag",
    "flipped_ciphertext",
    "flipped_control",
    "replayed_reply",
    "plaintext_reply",
    "foreign_title",
    "weaker_protection",
    "old_counter",
)
"""Fields of `Behaviour` that are rates of attacks on the GET responses of ciphered associations."""


CLOCK_START = 946_684_800.0
"""Where a clock begins that has lost the time: 2000-01-01 00:00 UTC, Unix seconds."""


@dataclass
class Behaviour:
    """Misbehaviour of one meter; the defaults are honest. A change counts from the next request or connection on.

    Rates are the part of replies concerned, 0.0 to 1.0, drawn from the meter's seed. Times are seconds. The attacks
    concern protected GET responses; `Counters.attacks` counts those that were sent, a link layer's repeat of one not
    again. A forged value is one of `forgery`.

    :arg latency: from request to reply; one request after the other, as on a serial line.
    :arg jitter: largest addition to the latency, drawn anew for each reply.
    :arg byte_interval: between single bytes of a reply; 0 sends it at once.
    :arg junk: rate of replies with random bytes before them.
    :arg junk_length: how many.
    :arg lost: rate of replies that are never sent.
    :arg duplicated: rate of replies sent twice.
    :arg late: rate of replies withheld until the next request arrives, then sent before its reply.
    :arg half: rate of replies cut in the middle.
    :arg wrong_check: rate of replies with a wrong FCS (hdlc) or a wrong version in the header (wrapper).
    :arg busy_period: from the start of one busy burst to that of the next; 0 for none. The first one comes half to one
        period after the start of the meter.
    :arg busy_length: length of a busy burst, in which everything received is ignored; as long as the period for always.
    :arg busy_until_reconnect: a new connection ends the burst.
    :arg drop_every: association and link are dropped silently instead of answering every so many GETs; 0 for never.
    :arg hang_up_every: the TCP connection is closed instead of answering every so many GETs; 0 for never.
    :arg connections: many, or only one at a time while others hang or are refused (accepted and reset).
    :arg keeps_dead_association: a client that leaves without RLRQ or DISC blocks the only connection until the
        inactivity timeout.
    :arg with_list: offered; refused (not in the conformance, exception-response when used anyway); exception (offered,
        then answered with an exception-response); wrong (offered, then one result is missing); unanswered.
    :arg denied: six-byte logical names whose attributes, except the first, are answered with read-write-denied.
    :arg silent: connections are accepted, nothing is answered.
    :arg babble: junk bytes per second sent for ever on each connection, none answered; 1000000 is a flood.
    :arg ua_parameters: full; none (a UA without any); short (values of one byte); huge (four bytes, and far too large);
        unknown (ones that no standard knows besides).
    :arg refuse_link: SNRM is answered with DM.
    :arg refuse_association: AARQ is answered with a rejection, no reason given.
    :arg stale: after a connection that was not ended by DISC or RLRQ, the next one begins with junk, half of the last
        reply and the whole of it, as a serial converter delivers them.
    :arg clock_offset: seconds by which the meter's clock is ahead.
    :arg inverted_deviation: date-times carry their deviation with the wrong sign.
    :arg compact_profile: rows of a load profile after the first have null-data as timestamp, and as value where it is
        the same as in the row before.
    :arg start_excluded: a load profile by range leaves out the row at its start.
    :arg end_excluded: a load profile by range leaves out the row at its end.
    :arg profile_access: any; by-entry (selection by range is refused); whole (any selection is refused).
    :arg profile_nulls: which null-data `compact_profile` writes: timestamps and values, or timestamps alone.
    :arg newest_first: load profiles are sorted last in, first out.
    :arg duplicated_rows: every so many rows of a load profile one comes twice; 0 for none.
    :arg swapped_rows: every so many rows of a load profile one comes before the row that it follows; 0 for none.
    :arg no_deviation: date-times say of their deviation that it is not specified.
    :arg power_fail_period: from the start of one power failure to that of the next, counted from 1970; 0 for none.
    :arg power_fail_length: length of a power failure, in which no row is captured.
    :arg clock_lost_period: from the start of one loss of the clock to that of the next, counted from 1970; 0 for none.
    :arg clock_lost_length: how long until somebody sets the clock; meanwhile it counts from `CLOCK_START`, and so do the
        timestamps of rows that are captured.
    :arg replay_answer: what a request gets whose invocation counter is not above the last one: an exception-response
        invocation-counter-error or deciphering-error, for an AARQ the rejection of the association (for other requests
        a deciphering-error), or nothing.
    :arg wrong_proof: the answer to the client's challenge (pass 4) is wrong.
    :arg flipped_tag: one bit of the tag is inverted; not where replies are only encrypted.
    :arg flipped_ciphertext: one bit before the tag is inverted. Where replies are only encrypted no client can tell.
    :arg flipped_control: one bit of the security control byte is inverted.
    :arg replayed_reply: an earlier reply of the association is sent again, one that says something else, or else a
        forged value under its counter; the first reply is always honest.
    :arg plaintext_reply: a forged value without any ciphering.
    :arg foreign_title: a forged value protected with the right keys under another system title.
    :arg weaker_protection: a forged value that is not encrypted, not authenticated or neither, though both was agreed
        on (or neither, where one of them was).
    :arg old_counter: a forged value, protected as it should be, under an invocation counter that is not above the last one.
    :raises ValueError: when a rate, a time or a count is out of range as it is created.
    """

    latency: float = 0.0
    jitter: float = 0.0
    byte_interval: float = 0.0
    junk: float = 0.0
    junk_length: int = 8
    lost: float = 0.0
    duplicated: float = 0.0
    late: float = 0.0
    half: float = 0.0
    wrong_check: float = 0.0
    busy_period: float = 0.0
    busy_length: float = 0.0
    busy_until_reconnect: bool = False
    drop_every: int = 0
    hang_up_every: int = 0
    connections: Literal["many", "one-hang", "one-refuse"] = "many"
    keeps_dead_association: bool = False
    with_list: Literal["offered", "refused", "exception", "wrong", "unanswered"] = "offered"
    denied: frozenset[bytes] = frozenset()
    silent: bool = False
    babble: float = 0.0
    ua_parameters: Literal["full", "none", "short", "huge", "unknown"] = "full"
    refuse_link: bool = False
    refuse_association: bool = False
    stale: bool = False
    clock_offset: float = 0.0
    inverted_deviation: bool = False
    compact_profile: bool = False
    start_excluded: bool = False
    end_excluded: bool = False
    profile_access: Literal["any", "by-entry", "whole"] = "any"
    profile_nulls: Literal["all", "timestamps"] = "all"
    newest_first: bool = False
    duplicated_rows: int = 0
    swapped_rows: int = 0
    no_deviation: bool = False
    power_fail_period: float = 0.0
    power_fail_length: float = 0.0
    clock_lost_period: float = 0.0
    clock_lost_length: float = 0.0
    replay_answer: Literal["invocation-counter-error", "deciphering-error", "rejection", "silent"] = "invocation-counter-error"
    wrong_proof: bool = False
    flipped_tag: float = 0.0
    flipped_ciphertext: float = 0.0
    flipped_control: float = 0.0
    replayed_reply: float = 0.0
    plaintext_reply: float = 0.0
    foreign_title: float = 0.0
    weaker_protection: float = 0.0
    old_counter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("junk", "lost", "duplicated", "late", "half", "wrong_check", *ATTACKS):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} is out of range; a rate is 0.0 to 1.0")
        for name in (
            "latency",
            "jitter",
            "byte_interval",
            "junk_length",
            "busy_period",
            "busy_length",
            "drop_every",
            "hang_up_every",
            "babble",
            "duplicated_rows",
            "swapped_rows",
            "power_fail_period",
            "power_fail_length",
            "clock_lost_period",
            "clock_lost_length",
        ):
            if not 0 <= getattr(self, name) <= 1e7:
                raise ValueError(f"{name} {getattr(self, name)} is out of range; it is 0 or more")
        if not abs(self.clock_offset) <= 1e9:
            raise ValueError(f"clock_offset {self.clock_offset} is out of range; seconds, up to a thousand million")

    def clock_error(self, at: float) -> float:
        """Seconds by which the clock is ahead at a time (Unix seconds)."""
        lost_for = at % self.clock_lost_period if self.clock_lost_period > 0 else self.clock_lost_length
        return self.clock_offset if lost_for >= self.clock_lost_length else CLOCK_START + lost_for - at

    @property
    def only_one_connection(self) -> bool:
        """Whether a second client is turned away."""
        return self.connections != "many"

    def reset(self) -> None:
        """Be honest again."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, field.default)


NAMED: dict[str, dict[str, object]] = {
    "honest": {},
    "silent": {"silent": True},
    "babbling": {"babble": 500.0},
    "flood": {"babble": 1_000_000.0},
    "noisy": {"junk": 0.2, "half": 0.02, "wrong_check": 0.02, "lost": 0.02, "duplicated": 0.02, "late": 0.02},
    "slow": {"latency": 2.0, "jitter": 1.0},
    "slow-bytes": {"byte_interval": 0.005},
    "busy": {"busy_period": 60.0, "busy_length": 10.0},
    "dropping": {"drop_every": 20},
    "hanging-up": {"hang_up_every": 20},
    "one-connection": {"connections": "one-hang"},
    "no-with-list": {"with_list": "refused"},
    "refusing": {"refuse_association": True},
    "stale": {"stale": True},
    "attacked": dict.fromkeys(ATTACKS, 0.05),
}
"""Behaviours that have a name, for command lines and urls: the fields that differ from the honest ones."""


def named_behaviour(name: str) -> dict[str, object]:
    """The fields of a named behaviour that differ from the honest ones.

    :raises ValueError: when there is none of that name; the message lists them.
    """
    if name not in NAMED:
        raise ValueError(f"behaviour {name!r} is not known; possible are {', '.join(NAMED)}")
    return NAMED[name]
