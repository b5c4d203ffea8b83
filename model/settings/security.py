"""How a client and a meter prove to each other who they are, and how what they say is protected.

The rules between the fields are in `_PROBLEMS`, each a condition and what to say; all of them hold at load time, so that
nothing that cannot work is found out at night.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from model.obis import parse_logical_name
from model.settings.base import Settings

LONGEST_PASSWORD = 128
"""Bytes: what fits into an AARQ together with everything else."""

LONGEST_AES_SECRET = 16
"""Bytes: HLS mechanism 2, as meters implement it, takes the secret for an AES-128 key."""

SYSTEM_TITLE_SIZE = 8

_HEX = "hex:"
_WITH_SECRET = ("high", "high-md5", "high-sha1", "high-sha256")
_ECDSA_REMEDY = "write high-gmac, or give the meter a client with another mechanism"


def password_octets(text: str) -> bytes:
    """What goes over the wire for a password: the text in UTF-8, or of hex:0102 the bytes it stands for.

    :raises ValueError: when hex: is not followed by pairs of hexadecimal digits, or the text is not Unicode; the
        message does not show it.
    """
    if not text.startswith(_HEX):
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise ValueError("the password is not valid UTF-8; write it as hex: and the bytes in hexadecimal") from None
    try:
        return bytes.fromhex(text.removeprefix(_HEX))
    except ValueError:
        raise ValueError("a password that begins with hex: must go on with pairs of hexadecimal digits") from None


def key_octets(text: str) -> bytes:
    """The bytes of a key written in hexadecimal, spaces between bytes allowed.

    :raises ValueError: when it is anything else; the message does not show it.
    """
    try:
        return bytes.fromhex(text.removeprefix(_HEX))
    except ValueError:
        raise ValueError("a key is written in hexadecimal digits, two per byte; write ${METER_KEY} or file:/path") from None


class SecuritySettings(Settings):
    """The part of a meter's entry that says how the client authenticates and how messages are protected."""

    authentication: Literal["none", "low", "high", "high-md5", "high-sha1", "high-sha256", "high-gmac", "high-ecdsa"] = Field(
        default="none",
        description="none; low with a password; high-gmac with the keys; high (AES), high-md5, high-sha1 or high-sha256 with hls_secret. "
        "high-ecdsa is not supported; here to say so.",
    )
    password: SecretStr | None = Field(
        default=None, description="Password for low; write ${METER_PASSWORD} or file:/path. hex:0102 for bytes."
    )
    hls_secret: SecretStr | None = Field(
        default=None,
        description="Secret for high, high-md5, high-sha1 and high-sha256; write ${METER_SECRET} or file:/path. hex:0102 for bytes.",
    )
    security_policy: Literal["none", "authentication", "encryption", "authenticated-encryption"] = Field(
        default="none",
        description="How every message is protected. With encryption alone nobody can tell whether a reply was changed on its way.",
    )
    security_suite: Literal[0, 1, 2] = Field(default=0, description="0 and 1 use AES-128 (keys of 16 bytes), 2 uses AES-256 (32 bytes).")
    block_cipher_key: SecretStr | None = Field(
        default=None, description="Global unicast encryption key in hex; write ${METER_KEY} or file:/path."
    )
    authentication_key: SecretStr | None = Field(
        default=None, description="Authentication key in hex; write ${METER_AUTH_KEY} or file:/path."
    )
    dedicated_key: bool = Field(default=False, description="Protect services with a fresh random key for each association.")
    ciphering: Literal["service-specific", "general", "general-ciphering", "general-signing"] = Field(
        default="service-specific",
        description="service-specific (glo-get-request ...), or general for general-glo-ciphering and general-ded-ciphering. "
        "general-ciphering and general-signing are not supported; here to say so.",
    )
    compression: bool = Field(default=False, description="Not supported; here to say so.")
    client_system_title: str | None = Field(
        default=None, description="Our system title, 16 hex digits: three letters of the maker, five bytes."
    )
    server_system_title: str | None = Field(
        default=None, description="The meter's system title, 16 hex digits; learned from the first proven association where left out."
    )
    protected_release: bool = Field(default=False, description="Release with a protected initiate request, for meters that ask for it.")
    invocation_counter_object: str = Field(
        default="0-0:43.1.0.255", description="Where the meter keeps the counter that it expects of this client (class 1, attribute 2)."
    )
    invocation_counter_client_sap: int = Field(default=16, ge=1, le=127, description="The client that may read it without a password.")
    invocation_counter_start: int = Field(
        default=1, ge=0, le=2**31 - 1, description="First counter towards a meter that was never met and does not tell its counter."
    )
    server_counter_restarts: bool = Field(
        default=False,
        description="For meters that begin their own counter anew with each association. Replays of earlier associations are then"
        " recognised by the challenge alone, so it needs one of the high mechanisms.",
    )

    @field_validator("password", "hls_secret")
    @classmethod
    def _usable_password(cls, password: SecretStr | None) -> SecretStr | None:
        if password is not None and len(password_octets(password.get_secret_value())) > LONGEST_PASSWORD:
            raise ValueError(f"the password is longer than {LONGEST_PASSWORD} bytes")
        return password

    @field_validator("block_cipher_key", "authentication_key")
    @classmethod
    def _usable_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            key_octets(key.get_secret_value())
        return key

    @field_validator("client_system_title", "server_system_title")
    @classmethod
    def _usable_title(cls, title: str | None) -> str | None:
        if title is None:
            return None
        try:
            octets = bytes.fromhex(title)
        except ValueError:
            octets = b""
        if len(octets) != SYSTEM_TITLE_SIZE:
            raise ValueError(f"{title!r} is not a system title; write 16 hexadecimal digits, such as 4D4D4D0000000001")
        if not any(octets):
            raise ValueError("a system title of zeros belongs to nobody; write the maker's three letters and a number in hexadecimal")
        return title

    @field_validator("invocation_counter_object")
    @classmethod
    def _usable_object(cls, obis: str) -> str:
        parse_logical_name(obis)
        return obis

    @model_validator(mode="after")
    def _consistent(self) -> SecuritySettings:
        for is_so, problem in _PROBLEMS:
            if is_so(self):
                raise ValueError(problem(self) if callable(problem) else problem)
        return self

    @property
    def is_associated_with(self) -> bool:
        """Whether we associate with the meter; with one that only calls in we do not, and it gets nothing of ours."""
        return True

    @property
    def is_ciphered(self) -> bool:
        """Whether messages are protected."""
        return self.security_policy != "none"

    @property
    def is_high(self) -> bool:
        """Whether client and meter prove to each other that they know a secret."""
        return self.authentication.startswith("high")

    def password_bytes(self) -> bytes | None:
        """The password as it goes over the wire; None without one."""
        return None if self.password is None else password_octets(self.password.get_secret_value())

    def hls_secret_bytes(self) -> bytes:
        """The secret of the high mechanisms; empty without one."""
        return b"" if self.hls_secret is None else password_octets(self.hls_secret.get_secret_value())

    def block_cipher_key_bytes(self) -> bytes:
        """The global encryption key; empty without one."""
        return _key(self.block_cipher_key)

    def authentication_key_bytes(self) -> bytes:
        """The authentication key; empty without one."""
        return _key(self.authentication_key)


def _key(key: SecretStr | None) -> bytes:
    return b"" if key is None else key_octets(key.get_secret_value())


def _key_size(settings: SecuritySettings) -> int:
    return 32 if settings.security_suite == 2 else 16


def _needs_keys(settings: SecuritySettings) -> bool:
    return settings.is_ciphered or settings.authentication == "high-gmac"


def _needs_authentication_key(settings: SecuritySettings) -> bool:
    """Encryption alone makes no tag, and only a tag takes the authentication key (IEC 62056-5-3 clause 5.3.3); the network
    operators whose customer ports encrypt only give none."""
    return _needs_keys(settings) and (settings.is_associated_with or settings.security_policy != "encryption")


def _badly_sized(name: str) -> tuple[Callable[[SecuritySettings], bool], Callable[[SecuritySettings], str]]:
    def size(settings: SecuritySettings) -> int:
        return len(_key(getattr(settings, name)))

    def problem(settings: SecuritySettings) -> str:
        return (
            f"{name} has {size(settings)} bytes, security_suite {settings.security_suite} takes {_key_size(settings)};"
            f" give the key that belongs to the suite, {2 * _key_size(settings)} hexadecimal digits"
        )

    return (lambda settings: getattr(settings, name) is not None and size(settings) != _key_size(settings)), problem


_Problem = tuple[Callable[[SecuritySettings], bool], "str | Callable[[SecuritySettings], str]"]

_PROBLEMS: Sequence[_Problem] = (
    (
        lambda s: s.authentication == "low" and s.password is None,
        "authentication low needs a password; add password: ${METER_PASSWORD}",
    ),
    (
        lambda s: s.authentication == "none" and s.password is not None,
        "a password is given but authentication is none; write authentication: low, or remove the password",
    ),
    (
        lambda s: s.authentication == "high-ecdsa" and s.security_suite == 2,
        "authentication high-ecdsa with security_suite 2 (P-384) is not supported: the DLMS library cannot sign with P-384;"
        f" {_ECDSA_REMEDY}",
    ),
    (
        lambda s: s.authentication == "high-ecdsa",
        "authentication high-ecdsa is not supported: the DLMS library prints the private key when it signs,"
        f" and certificates cannot be given yet; {_ECDSA_REMEDY}",
    ),
    (
        lambda s: s.is_high and s.password is not None,
        "password belongs to authentication low; the high mechanisms take hls_secret, and high-gmac its keys",
    ),
    (
        lambda s: s.authentication in _WITH_SECRET and s.hls_secret is None,
        lambda s: f"authentication {s.authentication} needs the secret that the meter knows; add hls_secret: ${{METER_SECRET}}",
    ),
    (
        lambda s: s.hls_secret is not None and s.authentication not in _WITH_SECRET,
        lambda s: f"hls_secret is given but authentication {s.authentication} takes none; remove it, or write the mechanism it is for",
    ),
    (
        lambda s: s.authentication == "high" and len(s.hls_secret_bytes()) > LONGEST_AES_SECRET,
        f"hls_secret of authentication high is an AES key of at most {LONGEST_AES_SECRET} bytes; give a shorter one",
    ),
    (
        lambda s: s.ciphering in ("general-ciphering", "general-signing"),
        lambda s: f"ciphering {s.ciphering} is not supported; write general (general-glo and general-ded), or service-specific",
    ),
    (lambda s: s.compression, "compression is not supported; remove it, and take compression out of the meter's security setup"),
    (
        lambda s: _needs_keys(s) and s.block_cipher_key is None,
        "block_cipher_key is missing, which security_policy and high-gmac need; add block_cipher_key: ${METER_KEY}",
    ),
    (
        lambda s: _needs_authentication_key(s) and s.authentication_key is None,
        "authentication_key is missing, which security_policy and high-gmac need; add authentication_key: ${METER_AUTH_KEY}",
    ),
    (
        lambda s: s.block_cipher_key is not None and not _needs_keys(s),
        "block_cipher_key is given but nothing uses it; add security_policy: authenticated-encryption, or remove the keys",
    ),
    (
        lambda s: s.authentication_key is not None and not _needs_keys(s),
        "authentication_key is given but nothing uses it; add security_policy: authenticated-encryption, or remove the keys",
    ),
    _badly_sized("block_cipher_key"),
    _badly_sized("authentication_key"),
    (
        lambda s: s.client_system_title is None and s.is_associated_with and (_needs_keys(s) or s.authentication == "high-sha256"),
        "client_system_title is missing, which keys and high-sha256 need; add one, such as client_system_title: 4D4D4D0000000001",
    ),
    (
        lambda s: s.client_system_title is not None and s.client_system_title.lower() == (s.server_system_title or "").lower(),
        "server_system_title is that of the client; give the meter's own, or leave it out",
    ),
    (
        lambda s: s.dedicated_key and s.security_policy not in ("encryption", "authenticated-encryption"),
        "dedicated_key travels in the first message, which security_policy must encrypt; write security_policy: authenticated-encryption",
    ),
    (
        lambda s: s.ciphering != "service-specific" and not s.is_ciphered,
        "ciphering is given but security_policy is none; add security_policy: authenticated-encryption",
    ),
    (
        lambda s: s.security_suite != 0 and not _needs_keys(s),
        "security_suite is given but nothing uses it; add security_policy: authenticated-encryption, or remove it",
    ),
    (
        lambda s: s.server_counter_restarts and not s.is_high,
        "server_counter_restarts leaves replays to the challenge, which only the high mechanisms have; write authentication: high-gmac",
    ),
)
