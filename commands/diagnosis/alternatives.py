"""What a meter that does not answer does answer to: asked once more by the public client, in other framings and at usual addresses.

A wrong client SAP, a wrong server address, a wrong framing and a dead meter all look alike: silence, or a connection that is
closed without a word. An answer to anything else
tells them apart. Each question is one attempt to associate as the public client, which reads only and needs no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from connectors.dlms.session import Session, public_client
from connectors.dlms.states import State
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.meter import MeterSettings

PATIENCE = 1.5
"""Seconds to wait for an answer to one question, at most."""

USUAL_ADDRESSES = ((1, 0), (0, 1), (1, 1))
"""Logical and physical, as many meters have them from the works."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One question.

    :arg what: what was different, such as "client 16".
    :arg meaning: what an answer to it tells. :arg remedy: what to do then.
    """

    what: str
    meaning: str
    remedy: str
    meter: MeterSettings


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked until something was answered.

    :arg answered: None where nothing was.
    """

    answered: Alternative | None
    tried: tuple[str, ...]


async def ask_otherwise(meter: MeterSettings, resolve: Callable[[str, str], str], linked: bool) -> Answers:
    """Ask until there is an answer; never raises for what the meter does.

    :arg linked: whether the data link came about, so that the framing is right; some meters open one at any address.
    """
    tried = []
    for alternative in _alternatives(meter, linked):
        tried.append(alternative.what)
        if await _answers(alternative.meter, resolve, linked):
            return Answers(alternative, tuple(tried))
    return Answers(None, tuple(tried))


def _alternatives(meter: MeterSettings, linked: bool) -> Iterator[Alternative]:
    public = public_client(meter).model_copy(
        update={"exchange_timeout": min(meter.exchange_timeout, PATIENCE), "retries": 0, "reconnect_pause": None}
    )
    if public.client_sap != meter.client_sap:
        others = "; then block_cipher_key, authentication_key, client_system_title and the invocation counter"
        yield Alternative(
            f"client {public.client_sap}",
            f"the meter answers the public client {public.client_sap} at this address, and not client {meter.client_sap}:"
            f" it does not know this client_sap{', or it refuses keys or counter in silence' if meter.is_ciphered else ''}",
            f"check client_sap: the meter's supplier says which clients it has{others if meter.is_ciphered else ''}",
            public,
        )
    if meter.address.scheme == "tcp" and not linked:
        other = "wrapper" if meter.framing == "hdlc" else "hdlc"
        yield Alternative(
            f"framing {other}",
            f"the meter answers with framing {other}, and not with {meter.framing}",
            f"write framing: {other}",
            public.model_copy(update={"framing": other}),
        )
    yield from _at_other_addresses(meter, public)


def _at_other_addresses(meter: MeterSettings, public: MeterSettings) -> Iterator[Alternative]:
    own = (meter.server_logical, meter.server_physical)
    usual = [(1, meter.server_physical), (meter.server_logical, 0), *USUAL_ADDRESSES]
    if meter.framing == "wrapper":
        usual = [(1, meter.server_physical)]
    for logical, physical in dict.fromkeys(usual):
        if (logical, physical) != own:
            yield Alternative(
                f"server {logical}/{physical}",
                f"the meter answers at server_logical {logical}, server_physical {physical}, and not at {own[0]}/{own[1]}",
                f"write server_logical: {logical} and server_physical: {physical}",
                public.model_copy(update={"server_logical": logical, "server_physical": physical, "server_address_size": None}),
            )


async def _answers(meter: MeterSettings, resolve: Callable[[str, str], str], linked: bool) -> bool:
    """Whether the association is answered; a data link by itself counts only where there was none before."""
    session = Session(meter, resolve)
    try:
        await session.associate()
    except MeterError as error:
        await session.abandon()
        if error.kind is ErrorKind.REFUSED:
            return True
        return not linked and meter.framing == "hdlc" and session.failed_in not in (None, State.IDLE, State.CONNECTING, State.CLOSED)
    finally:
        await session.close()
    return True
