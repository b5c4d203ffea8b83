"""Opens ciphered notifications and refuses what cannot be believed: the counters of a listener's senders.

A notification of a meter that has keys must be protected as its policy asks, by its own system title, with a tag that is
right and a counter above the last one seen: a recorded notification that is sent again is refused, after a restart too.
Counters are kept per sender and key, because a new key starts a new count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import structlog

from connectors.dlms.security.protection import Header, Keys, NotAuthentic, Policy, Suite, open_header
from connectors.dlms.state_file import read_state, write_state
from model.errors import StorageError
from model.messages import Violation
from model.settings.meter import MeterSettings

MARK = "dlms-push-in counters, version 1"

_DISK_REMEDY = (
    "free space on the disk of state_dir and make it writable; until then a restart may believe a recorded notification once more"
)

_POLICIES = {
    "authentication": Policy.AUTHENTICATION,
    "encryption": Policy.ENCRYPTION,
    "authenticated-encryption": Policy.AUTHENTICATED_ENCRYPTION,
}


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Security:
    """How one meter protects what it sends: keys, the least protection, and its system title where it is known."""

    keys: Keys
    policy: Policy
    title: bytes | None = None

    def name(self, title: bytes) -> str:
        """Of the count of this key and this sender; does not give the key away."""
        return sha256(b"notification counter" + title + self.keys.encryption).hexdigest()[:24]


def security_of(meter: MeterSettings) -> Security | None:
    """How the notifications of `meter` must be protected; None where they need not be.

    Encryption alone takes no authentication key; where none is given, zeros stand for it.
    """
    if not meter.is_ciphered:
        return None
    encryption = meter.block_cipher_key_bytes()
    keys = Keys(Suite(meter.security_suite), encryption, meter.authentication_key_bytes() or bytes(len(encryption)))
    title = None if meter.server_system_title is None else bytes.fromhex(meter.server_system_title)
    return Security(keys, _POLICIES[meter.security_policy], title)


@dataclass(frozen=True, slots=True)
class Opened:
    """The contents of a protected notification; `accept` its counter once they turn out to be one."""

    apdu: bytes
    name: str
    counter: int


class Counters:
    """The last invocation counter of every sender and key.

    :arg known: from the last snapshot.
    :arg file: where they are kept besides, so that a replay is refused without a recovery store, too; None for nowhere.
    :raises StorageError: when the file cannot be read.
    """

    def __init__(self, known: Mapping[str, int] | None = None, file: Path | None = None) -> None:
        self._last: dict[str, int] = dict(known or {})
        self._file = file
        if file is not None:
            for name, counter in _kept(file).items():
                self._last[name] = max(counter, self._last.get(name, -1))
        self._written = dict(self._last)
        self._refused = False

    def keep(self) -> None:
        """Put the counters on the disk where any has risen; called before what they came with flows on.

        A disk that refuses does not stop the listening: it is told once, and tried again with the next counter.
        """
        current = dict(self._last)
        if self._file is None or current == self._written:
            return
        try:
            write_state(self._file, MARK, current)
        except OSError as error:
            if not self._refused:
                log.error("the counters of pushing meters cannot be kept", file=str(self._file), cause=str(error), remedy=_DISK_REMEDY)
            self._refused = True
            return
        self._written, self._refused = current, False

    def open(self, header: Header, security: Security) -> Opened:
        """What a protected APDU holds.

        :raises NotAuthentic: when it must not be believed.
        """
        title = header.title or security.title
        if title is None:
            raise NotAuthentic(Violation.MALFORMED, "it does not say who sent it, and the meter's entry has no server_system_title")
        name = security.name(title)
        opened = open_header(header, security.keys, security.policy, security.title or title, self._last.get(name))
        return Opened(opened.apdu, name, opened.counter)

    def accept(self, opened: Opened) -> None:
        """From now on only higher counters are believed.

        Called when the contents could be read: without authentication anybody may send a counter, which must not lock the
        meter out.
        """
        self._last[opened.name] = max(opened.counter, self._last.get(opened.name, -1))

    def state(self) -> dict[str, int]:
        """A copy for the snapshot."""
        return dict(self._last)


def _kept(file: Path) -> dict[str, int]:
    try:
        return {str(name): int(counter) for name, counter in (read_state(file, MARK) or {}).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StorageError(
            f"the counters of pushing meters {file} cannot be used: {error}",
            "make the file readable; where it is damaged, delete it: then one recorded notification per meter could be believed once more",
        ) from error
