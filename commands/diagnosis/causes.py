"""From what a meter did to its cause and its remedy, in the words of what the meter's settings hold."""

from __future__ import annotations

from collections.abc import Callable

from commands.diagnosis.alternatives import Answers, ask_otherwise
from connectors.dlms.session import Session
from connectors.dlms.states import State
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.meter import MeterSettings

AUTHENTICATION_FAILURE, NO_REASON = "authentication-failure", "no-reason-given"
"""Words of the diagnostic in an AARE (IEC 62056-5-3, Associate-source-diagnostic)."""

DECIPHERING_ERROR = "deciphering-error"
"""Word of an exception-response (IEC 62056-5-3)."""


BEFORE_ASSOCIATION = (State.IDLE, State.CONNECTING, State.CLOSED)
"""Where a session stands that has no data link yet."""


async def asked_otherwise(fault: MeterError, session: Session, meter: MeterSettings, resolve: Callable[[str, str], str]) -> MeterError:
    """A fault of associating, with what the meter does answer to where it was silent or hung up; any other as it is.

    :arg session: the one that failed; it is abandoned, since many meters accept one connection at a time.
    """
    if fault.kind not in (ErrorKind.TIMEOUT, ErrorKind.LINK_LOST):
        return fault
    linked = meter.framing == "hdlc" and session.failed_in not in BEFORE_ASSOCIATION
    await session.abandon()
    return told_apart(fault, await ask_otherwise(meter, resolve, linked))


def told_apart(fault: MeterError, answers: Answers) -> MeterError:
    """The same fault, with what the meter did answer to."""
    found = answers.answered
    if found is not None:
        return MeterError(fault.kind, f"{found.meaning} ({fault.what})", found.remedy, fault.needs_a_person)
    if not answers.tried:
        return fault
    what = f"{fault.what}; there was no answer, either, when asked with {', '.join(answers.tried)}"
    remedy = "a meter without power behind its converter, wrong line settings and another server_physical look alike from here"
    return MeterError(fault.kind, what, f"{remedy}: check them in this order; {fault.remedy}", fault.needs_a_person)


def remedy_of(fault: MeterError, meter: MeterSettings) -> str:
    """What to do, in the words of what this meter's settings hold."""
    if fault.kind is ErrorKind.REFUSED and AUTHENTICATION_FAILURE in fault.what:
        if meter.block_cipher_key is not None:
            secret = "" if meter.hls_secret is None else ", or hls_secret"
            return (
                f"block_cipher_key or authentication_key{secret} is not the meter's for client {meter.client_sap}: a meter does not say"
                " which; compare both with its papers, byte by byte"
            )
        name = "hls_secret" if meter.is_high else "password"
        return f"{name} is not the meter's for client {meter.client_sap}; each client of a meter has its own"
    if fault.kind in (ErrorKind.REFUSED, ErrorKind.COUNTER) and not meter.is_ciphered and DECIPHERING_ERROR in fault.what:
        what = f"the meter expects ciphering from client {meter.client_sap}: write security_policy and the keys"
        return f"{what}, or the client_sap of a client that needs none"
    if fault.kind is ErrorKind.REFUSED and meter.is_ciphered and NO_REASON in fault.what:
        return f"{fault.remedy}; a meter may refuse wrong keys or a low invocation counter like that, too"
    return fault.remedy
