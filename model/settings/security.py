"""How a client proves who it is to a meter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from model.settings.base import Settings

LONGEST_PASSWORD = 128
"""Bytes: what fits into an AARQ together with everything else."""

_HEX = "hex:"


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


class SecuritySettings(Settings):
    """The part of a meter's entry that says how the client authenticates."""

    authentication: Literal["none", "low"] = Field(default="none", description="none, or low with a password.")
    password: SecretStr | None = Field(
        default=None, description="Password for low; write ${METER_PASSWORD} or file:/path. hex:0102 for bytes."
    )

    @field_validator("password")
    @classmethod
    def _usable_password(cls, password: SecretStr | None) -> SecretStr | None:
        if password is None:
            return None
        if len(password_octets(password.get_secret_value())) > LONGEST_PASSWORD:
            raise ValueError(f"the password is longer than {LONGEST_PASSWORD} bytes")
        return password

    @model_validator(mode="after")
    def _password_with_low(self) -> SecuritySettings:
        if self.authentication == "low" and self.password is None:
            raise ValueError("authentication low needs a password; add password: ${METER_PASSWORD}")
        if self.authentication == "none" and self.password is not None:
            raise ValueError("a password is given but authentication is none; write authentication: low, or remove the password")
        return self

    def password_bytes(self) -> bytes | None:
        """The password as it goes over the wire; None without one."""
        return None if self.password is None else password_octets(self.password.get_secret_value())
