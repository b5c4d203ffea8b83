"""Who may connect: devices known to the stand-in by their access token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Account:
    """A device with credentials of its own.

    :arg name: the device's name.
    :arg token: its access token, sent as MQTT user name.
    :arg gateway: whether it may speak for other devices (the `gateway` mark on the device in ThingsBoard).
    :arg device_type: its device profile.
    :arg password: the MQTT password that must come with the user name (ThingsBoard's MQTT basic credentials); with None
        the token alone is enough.
    """

    name: str
    token: str = field(repr=False)
    gateway: bool = False
    device_type: str = "default"
    password: str | None = field(default=None, repr=False)


class Accounts:
    """The access tokens that are valid now."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._by_token: dict[str, Account] = {}
        for account in accounts:
            self.add(account)

    def add(self, account: Account) -> None:
        """Create a device, or give an existing one another token.

        :raises ValueError: when another device has this token already.
        """
        holder = self._by_token.get(account.token)
        if holder is not None and holder.name != account.name:
            raise ValueError(f"devices {holder.name!r} and {account.name!r} have the same token")
        self.remove(account.name)
        self._by_token[account.token] = account

    def remove(self, name: str) -> None:
        """Forget a device's credentials; nothing happens when it has none."""
        self._by_token = {token: account for token, account in self._by_token.items() if account.name != name}

    def find(self, user_name: str | None, password: bytes | None) -> Account | None:
        """The device with these credentials, or None."""
        account = None if user_name is None else self._by_token.get(user_name)
        if account is None or account.password is None:
            return account
        return account if password == account.password.encode() else None

    def named(self, name: str) -> Account | None:
        """The device of this name, or None when it has no credentials."""
        return next((account for account in self._by_token.values() if account.name == name), None)
