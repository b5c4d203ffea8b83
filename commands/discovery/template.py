"""Writes what a walk found as sections of a pipeline.yaml: a template that passes `check`, with what was read as comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import yaml

from commands.discovery.keys import key_of, profile_key, unique
from commands.discovery.walk import DATA, DEMAND_REGISTER, FoundMeter, FoundProfile, FoundValue
from connectors.dlms.profile.capture import Column
from model.units import unit_symbol

INTERVALS = (("30s", 30), ("60s", 60), ("2m", 120), ("5m", 300), ("15m", 900), ("30m", 1800), ("1h", 3600))
"""What a template's interval may become: the first, from 60 s on, that is twice as long as a cycle takes."""

_COMMENT_AT = 52
_LONGEST = 60

WHOLE = """\
thingsboard:
  url: mqtts://thingsboard.example.org     # your server
  token: ${{TB_TOKEN:?create a gateway device in ThingsBoard and export its access token}}
state_dir: {state_dir}{space}# outbox, archive, invocation counters

{sections}
nodes:
  - {{id: meters, type: dlms-in}}
  - {{id: receipts, type: receipts-in}}
  - {{id: mapped, type: map, inputs: [meters]}}
  - {{id: checked, type: validate, inputs: [mapped], settings: {{defaults: {{future: 5m}}}}}}
  - {{id: health, type: health, inputs: [meters, meters.gaps, checked, checked.rejected, mapped.rejected, receipts, receipts.rejected]}}
  - {{id: alerts, type: alert, inputs: [health]}}
  - {{id: thingsboard, type: thingsboard-out, inputs: [checked, health, alerts, receipts.alerts]}}
  - id: archive
    type: archive-out
    inputs: [meters, meters.gaps, checked, checked.rejected, mapped.rejected, receipts, receipts.rejected, receipts.alerts, health, alerts]
  - {{id: console, type: console-out, inputs: [checked, receipts]}}    # the last values on the terminal; a service does without
"""


def sections(found: FoundMeter, name: str, entry: Mapping[str, Any]) -> str:
    """The sections `templates` and `meters`.

    :arg name: of the template.
    :arg entry: the meter's entry, without its template; secrets as references.
    """
    return "\n".join([*_template(found, name), "", "meters:", *entry_lines({**entry, "template": name}), ""])


def whole_file(found: FoundMeter, name: str, entry: Mapping[str, Any], state_dir: str) -> str:
    """A whole pipeline.yaml."""
    written = scalar(state_dir)
    return WHOLE.format(sections=sections(found, name, entry), state_dir=written, space=" " * max(1, 30 - len(written)))


def entry_lines(entry: Mapping[str, Any], comment: str = "") -> Iterator[str]:
    """One entry of the `meters` section."""
    for number, (key, value) in enumerate(entry.items()):
        line = f"  {'- ' if number == 0 else '  '}{key}: {scalar(value)}"
        yield f"{line}   # {comment}" if number == 0 and comment else line


def scalar(value: Any) -> str:
    """A value as YAML writes it on one line, quoted where it would be read as something else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    with suppress(yaml.YAMLError):
        if yaml.safe_load(f"key: {text}") == {"key": text}:
            return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '\\"':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08X}"


def _template(found: FoundMeter, name: str) -> Iterator[str]:
    keys = _Keys()
    readable = [value for value in found.values if not value.problem and value.item.class_id != DATA]
    cycle = (found.seconds_per_exchange or 0.0) * (len(readable) + 1)
    interval = next((text for text, seconds in INTERVALS if seconds >= 60 and seconds >= 2 * cycle), INTERVALS[-1][0])
    yield "templates:"
    yield f"  {name}:"
    yield _commented(f"    interval: {interval}", f"one value at a time takes about {cycle:.1f} s" if cycle >= 0.05 else "")
    yield "    read:"
    for value in readable:
        yield _commented(f"      {keys.of(value)}: {_read(value)}", _shown(value))
    if not readable:
        yield "      clock: {obis: 0-0:1.0.0, class: 8}    # no register can be read by this client; the template needs something to read"
    for value in found.values:
        if not value.problem and value.item.class_id == DATA:
            yield _commented(f"      # {keys.of(value)}: {_read(value)}", _shown(value))
    for value in found.values:
        if value.problem:
            yield f"      # {_code(value.item.logical_name)} class {value.item.class_id} attribute {value.attribute}: {_cut(value.problem)}"
    usable = [profile for profile in found.profiles if not profile.problem]
    if usable:
        yield "    profiles:"
    taken: set[str] = set()
    for profile in usable:
        called = unique(profile_key(profile.item.logical_name), profile.item.logical_name, taken.__contains__)
        taken.add(called)
        yield from _profile(profile, called, keys)
    for profile in found.profiles:
        if profile.problem:
            yield f"    # profile {_code(profile.item.logical_name)}: {_cut(profile.problem)}"


class _Keys:
    """Gives every attribute a key of its own; the same object has the same key wherever it is captured."""

    def __init__(self) -> None:
        self._given: dict[tuple[int, bytes, int], str] = {}
        self._captured: dict[tuple[bytes, int], str] = {}

    def of(self, value: FoundValue) -> str:
        wanted = key_of(value.item.logical_name)
        if value.item.class_id == DEMAND_REGISTER and value.attribute == 3:
            wanted += "_last"
        place = (value.item.class_id, value.item.logical_name, value.attribute)
        if place not in self._given:
            self._given[place] = unique(wanted, value.item.logical_name, set(self._given.values()).__contains__)
            self._captured.setdefault(place[1:], self._given[place])
        return self._given[place]

    def captured(self, column: Column, taken: set[str]) -> str:
        """The key of a profile's column, unlike the others of the profile."""
        key = self._captured.get((column.logical_name, column.attribute)) or key_of(column.logical_name)
        if column.attribute == 5:
            key += "_time"
        return unique(key, column.logical_name, taken.__contains__)


def _read(value: FoundValue) -> str:
    code, class_id = _code(value.item.logical_name), value.item.class_id
    parts = [f"obis: {code}"]
    if class_id != 3:
        parts.append(f"class: {class_id}")
    if value.attribute != 2:
        parts.append(f"attribute: {value.attribute}")
    return code if len(parts) == 1 else "{" + ", ".join(parts) + "}"


def _shown(value: FoundValue) -> str:
    if value.value is None:
        return "no value"
    if isinstance(value.value, (str, bool)) or value.scaler is None:
        return _cut(str(value.value))
    unit = unit_symbol(value.unit)
    return f"{Decimal(value.value).scaleb(value.scaler):f} {unit or '(the meter states no unit)'}"


def _profile(profile: FoundProfile, called: str, keys: _Keys) -> Iterator[str]:
    every = f"every {profile.period} s" if profile.period else "upon events"
    rows = "" if profile.entries is None else f", {profile.entries} rows"
    yield _commented(f"      {called}:", every + rows)
    yield f"        obis: {_code(profile.item.logical_name)}"
    taken: set[str] = set()
    lines, seen = [], set()
    for column in profile.columns:
        place = (column.logical_name, column.attribute)
        if column.is_clock or place in seen:
            continue
        seen.add(place)
        key = keys.captured(column, taken)
        taken.add(key)
        at = f"@{column.attribute}" if column.attribute != 2 else ""
        lines.append(f'          "{_code(column.logical_name)}{at}": {key}')
    if lines:
        yield "        keys:"
        yield from lines
    if not profile.period:
        yield "        events: {}                            # code: text, from the meter's papers"


def _code(name: bytes) -> str:
    reduced = f"{name[0]}-{name[1]}:{name[2]}.{name[3]}.{name[4]}"
    return reduced if name[5] == 255 else f"{reduced}*{name[5]}"


def _commented(line: str, comment: str) -> str:
    return f"{line:<{_COMMENT_AT}} # {comment}" if comment else line


def _cut(text: str) -> str:
    one = " ".join("".join(char if char.isprintable() else "?" for char in text).split())
    return one if len(one) <= _LONGEST else one[: _LONGEST - 3] + "..."
