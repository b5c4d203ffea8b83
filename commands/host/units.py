"""The systemd units of this project on this host, and how they are (systemctl(1))."""

from __future__ import annotations

from dataclasses import dataclass

from commands.host.tools import run_tool

PATTERN = "dlms-thingsboard*"
_PROPERTIES = "Id,ActiveState,SubState,Result,UnitFileState,NRestarts,Type"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit, in systemd's own words."""

    name: str
    active: str
    sub: str
    result: str
    enabled: bool
    restarts: int
    type: str

    @property
    def is_lasting(self) -> bool:
        """Whether it should be active all the time: not a job that ends by itself."""
        return self.type != "oneshot"


def installed_units() -> list[Unit] | None:
    """The units that are installed; None where systemd does not run here."""
    listed = run_tool("systemctl", "list-unit-files", "--no-legend", "--no-pager", "--plain", PATTERN)
    if listed is None:
        return None
    loaded = run_tool("systemctl", "list-units", "--all", "--no-legend", "--no-pager", "--plain", PATTERN) or ""
    found = [fields[0] for fields in map(str.split, (listed + loaded).splitlines()) if fields and "@." not in fields[0]]
    names = list(dict.fromkeys(found))  # instances of a template are known only where they are loaded
    if not names:
        return []
    shown = run_tool("systemctl", "show", f"--property={_PROPERTIES}", *names)
    return None if shown is None else [_unit(block) for block in shown.strip().split("\n\n") if block.strip()]


def _unit(block: str) -> Unit:
    values = dict(line.partition("=")[::2] for line in block.splitlines())
    return Unit(
        name=values.get("Id", "?"),
        active=values.get("ActiveState", "unknown"),
        sub=values.get("SubState", ""),
        result=values.get("Result", "success"),
        enabled=values.get("UnitFileState", "") in ("enabled", "enabled-runtime"),
        restarts=int(values.get("NRestarts") or 0),
        type=values.get("Type", ""),
    )
