"""What must hold between meters, templates and the ThingsBoard session, beyond each entry being right by itself.

Works on the data of the file, so that a mistake in one entry does not hide the mistakes between the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.errors import Problem
from model.loading.document import Document, Location
from model.loading.suggestion import suggest
from model.loading.translation import subject
from model.units import is_known_unit, similar_unit

_FILES = ("ca_file", "client_cert", "client_key")


def check_fleet(document: Document) -> list[Problem]:
    """The problems between the entries of `meters`, `templates` and `thingsboard`."""
    return [
        *_duplicated(document, "id", "the meter id", "give every meter an id of its own"),
        *_shared_devices(document),
        *_template_problems(document),
        *_misspelt_units(document),
        *_device_api(document),
        *_no_meters(document),
        *_missing_files(document),
    ]


def _meters(document: Document) -> Iterator[tuple[Location, dict[str, Any]]]:
    meters = document.get(("meters",))
    for index, meter in enumerate(meters if isinstance(meters, list) else []):
        if isinstance(meter, dict):
            yield ("meters", index), meter


def _where(document: Document, location: Location, other: Location) -> str:
    """How a message at `location` refers to the place of `other`."""
    here, there = document.place(location), document.place(other)
    return f"line {there.line}" if here.file == there.file else f"{there.file}:{there.line}"


def _duplicated(document: Document, key: str, noun: str, remedy: str) -> Iterator[Problem]:
    first: dict[str, Location] = {}
    for location, meter in _meters(document):
        value = meter.get(key)
        if not isinstance(value, str):
            continue
        if value in first:
            where = _where(document, (*location, key), (*first[value], key))
            yield document.problem((*location, key), f"{noun} {value!r} is given twice, first in {where}", remedy)
        else:
            first[value] = location


def _shared_devices(document: Document) -> Iterator[Problem]:
    first: dict[str, tuple[Location, Any]] = {}
    for location, meter in _meters(document):
        device = meter.get("device_name") or meter.get("id")
        if not isinstance(device, str):
            continue
        other = first.setdefault(device, (location, meter.get("id")))
        if other[0] == location or other[1] == meter.get("id"):
            continue
        place = (*location, "device_name" if meter.get("device_name") else "id")
        what = f"the meters {other[1]} ({_where(document, place, other[0])}) and {meter.get('id')} have one device name, {device!r}"
        yield document.problem(place, what, "their readings would overwrite each other: give each meter a device_name of its own")


def _template_problems(document: Document) -> Iterator[Problem]:
    templates = document.get(("templates",))
    if not isinstance(templates, dict):
        return
    for location, meter in _meters(document):
        name = meter.get("template")
        if not isinstance(name, str):
            continue
        if name not in templates:
            remedy = suggest(name, templates, "templates")
            yield document.problem((*location, "template"), f"meter {meter.get('id')}: unknown template {name!r}", remedy)
            continue
        read, overrides = document.get(("templates", name, "read")), meter.get("overrides")
        if not isinstance(read, dict) or not isinstance(overrides, dict):
            continue
        for key in [key for key, value in overrides.items() if value is None and key not in read]:
            what = f"meter {meter.get('id')}: overrides leaves out {key!r}, which the template {name} does not read"
            yield document.problem((*location, "overrides", key), what, suggest(key, read, "keys"))
        if read and not any(value is not None for value in {**read, **overrides}.values()):
            what = f"meter {meter.get('id')}: overrides leaves out everything the template {name} reads"
            yield document.problem((*location, "overrides"), what, "keep at least one key, or remove the meter")


def _misspelt_units(document: Document) -> Iterator[Problem]:
    """A unit that is not known is allowed, as a name for what the meter states no unit for; one that is nearly right is not."""
    templates = document.get(("templates",))
    parts: list[Location] = [("templates", name, "read") for name in (templates if isinstance(templates, dict) else ())]
    for part in [*parts, *((*location, "overrides") for location, _ in _meters(document))]:
        reads = document.get(part)
        for key, read in reads.items() if isinstance(reads, dict) else ():
            unit = read.get("unit") if isinstance(read, dict) else None
            similar = similar_unit(unit) if isinstance(unit, str) and not is_known_unit(unit) else None
            if similar is not None:
                location = (*part, key, "unit")
                yield document.problem(location, f"{subject(document, location)}: unknown unit {unit!r}", f"did you mean {similar}?")


def _device_api(document: Document) -> Iterator[Problem]:
    count = sum(1 for _ in _meters(document))
    if document.get(("thingsboard", "api")) == "device" and count > 1 and document.get(("thingsboard", "sessions")) is None:
        what = f"thingsboard: api device is one token for one device, but there are {count} meters"
        yield document.problem(("thingsboard", "api"), what, "write api: gateway and use the token of a gateway device")


def _no_meters(document: Document) -> Iterator[Problem]:
    meters = document.get(("meters",))
    if meters in (None, []) and document.get(("meters_file",)) is None:
        what = "there are no meters"
        yield document.problem(("meters",), what, "add an entry under meters: with id, connect and template, or name a meters_file:")


def _missing_files(document: Document) -> Iterator[Problem]:
    for key in _FILES:
        value = document.get(("thingsboard", key))
        if isinstance(value, str) and not Path(value).is_file():
            what = f"thingsboard: {key}: there is no file {value}"
            yield document.problem(("thingsboard", key), what, "check the path; it is relative to the folder of this file")
