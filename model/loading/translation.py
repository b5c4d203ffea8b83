"""Validation errors of the settings models, as problems in plain words with the line they come from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from model.errors import Problem
from model.loading.document import Document, Location
from model.loading.fields import field_at, keys_of, models_at
from model.loading.suggestion import nearest, suggest

_WANTS_TEXT = frozenset({"string_type", "literal_error", "path_type", "enum"})
_CREDENTIALS = re.compile(r"//[^/@\s'\"]+@")
_IN_A_KEY = "[key]"
_LONGEST_SHOWN = 80

_PHRASES: Mapping[str, str] = {
    "string_type": "must be text",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a mapping, key: value"),
    **dict.fromkeys(("literal_error", "enum"), "must be {expected}"),
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have at most {max_length} entries",
    "string_pattern_mismatch": "must look like {pattern}",
}
_NAME = "may only have letters, digits, - and _, and begin with a letter or digit"


def validate(
    model: type[BaseModel], document: Document, location: Location, silent: Collection[Location], hidden: Collection[Location]
) -> tuple[BaseModel | None, list[Problem]]:
    """The data at `location` as a `model`, or None and why not.

    A scalar that was typed but should have been text, such as the id 00012345, is taken as it was written.

    :arg silent: where a problem has been reported already.
    :arg hidden: where secrets stand, which no problem may show.
    """
    data = document.get(location)
    while True:
        try:
            return model.model_validate(data), []
        except ValidationError as error:
            errors = error.errors(include_url=False)
        rewritten = {place for found in errors if (place := _text_wanted(document, location, found)) is not None}
        if not rewritten:
            return None, _Translation(model, document, location, hidden).problems(errors, silent)
        for place in rewritten:
            document.set(place, document.as_written.pop(place))


def _text_wanted(document: Document, base: Location, error: ErrorDetails) -> Location | None:
    """Where a typed scalar stands whose text would be right, or at least nearer."""
    location = _existing(document, (*base, *error["loc"]))
    text = document.as_written.get(location)
    if text is None or error["type"] not in _WANTS_TEXT:
        return None
    return location if repr(text) in str(error.get("ctx", {}).get("expected", repr(text))) else None


class _Translation:
    """Puts the errors of one model into words; `base` is where its data stands in the document."""

    def __init__(self, model: type[BaseModel], document: Document, base: Location, hidden: Collection[Location]) -> None:
        self._model = model
        self._document = document
        self._base = base
        self._hidden = hidden

    def problems(self, errors: Sequence[ErrorDetails], silent: Collection[Location]) -> list[Problem]:
        """One problem for each thing that is wrong, however many members of a union it does not fit."""
        found: dict[tuple[Location, object], list[Problem]] = {}
        misspelt = self._misspelt(errors)
        for error in errors:
            location = _existing(self._document, (*self._base, *error["loc"]))
            full = (*location, error["loc"][-1]) if error["type"] == "missing" else location
            if full in misspelt or any(full[: len(place)] == place for place in silent):
                continue
            separate = str(error["ctx"]["error"]) if error["type"] == "value_error" else full
            found.setdefault((location, separate), []).append(self._problem(location, error))
        return [_joined(problems) for problems in found.values()]

    def _misspelt(self, errors: Sequence[ErrorDetails]) -> set[Location]:
        """The keys that unknown keys were meant to be; they are not reported as missing besides."""
        unknown = [_existing(self._document, (*self._base, *error["loc"])) for error in errors if error["type"] == "extra_forbidden"]
        meant = {location: nearest(str(location[-1]), self._known_keys(location[:-1])) for location in unknown}
        return {(*location[:-1], match) for location, match in meant.items() if match is not None}

    def _problem(self, location: Location, error: ErrorDetails) -> Problem:
        if error["type"] == "extra_forbidden":
            return self._unknown_key(location)
        if error["type"] == "missing":
            return self._missing_key(location, str(error["loc"][-1]))
        place = location
        if error["loc"][-1:] == (_IN_A_KEY,):
            what, remedy = f"the name {error['loc'][-2]!r} {_NAME}", "rename it, here and where it is used"
        elif error["type"] == "value_error":
            what, _, remedy = str(error["ctx"]["error"]).partition("; ")
            place = _blamed(self._document, location, what)
        else:
            what, remedy = self._wrong_value(location, error), ""
        return self._about(place, location, what, remedy or self._description(location) or "correct the value")

    def _unknown_key(self, location: Location) -> Problem:
        key, around = str(location[-1]), location[:-1]
        return self._about(location, around, f"unknown key {key!r}", suggest(key, self._known_keys(around), "keys"))

    def _missing_key(self, location: Location, key: str) -> Problem:
        return self._about(location, location, f"{key} is missing", f"add {key}: {self._description((*location, key))}".rstrip())

    def _wrong_value(self, location: Location, error: ErrorDetails) -> str:
        context = {key: _plain_number(value) for key, value in error.get("ctx", {}).items()}
        if context.get("min_length") == 1:
            wanted = "must not be empty"
        elif str(context.get("pattern", "")).startswith("^[A-Za-z0-9]["):
            wanted = _NAME
        elif error["type"] in _PHRASES:
            wanted = _PHRASES[error["type"]].format_map(context)
        else:
            wanted = error["msg"][:1].lower() + error["msg"][1:]
        value = self._document.get(location)
        if location in self._hidden or isinstance(value, (dict, list)):
            return wanted
        shown = "nothing" if value is None else repr(value) if isinstance(value, str) else str(value).lower()
        return f"{shown} {wanted}" if len(shown) <= _LONGEST_SHOWN else wanted

    def _about(self, place: Location, about: Location, what: str, remedy: str) -> Problem:
        where = subject(self._document, about)
        return self._document.problem(place, _CREDENTIALS.sub("//***@", f"{where}: {what}" if where else what), remedy)

    def _known_keys(self, location: Location) -> set[str]:
        return {key for owner in models_at(self._model, location[len(self._base) :]) for key in keys_of(owner)}

    def _description(self, location: Location) -> str:
        """What the field at `location` is for; of an item of a list, what the list is for."""
        inner = location[len(self._base) :]
        while inner and isinstance(inner[-1], int):
            inner = inner[:-1]
        info = field_at(self._model, inner)
        return "" if info is None else info.description or ""


def _joined(problems: list[Problem]) -> Problem:
    """One problem for a value that fits no member of a union."""
    first = problems[0]
    others = dict.fromkeys(problem.what.rpartition(" must be ")[2] for problem in problems[1:] if " must be " in problem.what)
    extra = [words for words in others if not first.what.endswith(words)]
    return Problem(first.file, first.line, " or ".join([first.what, *extra]), first.remedy)


def _plain_number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _existing(document: Document, location: tuple[Any, ...]) -> Location:
    """The part of an error's location that leads through the data, without the names of union members."""
    found: Location = ()
    value = document.data
    for part in location:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int) and part < len(value)
        if inside:
            value = value[part]
            found = (*found, part)
    return found


def _blamed(document: Document, location: Location, message: str) -> Location:
    """The first key of the mapping at `location` that `message` names, for errors that concern a whole mapping."""
    value = document.get(location)
    words = re.findall(r"\w+", message) if isinstance(value, dict) else []
    return next(((*location, word) for word in words if word in value), location)


def subject(document: Document, location: Location) -> str:
    """How a person would call what stands at `location`: "meter desk: connect", "node checked: rules.voltage"."""
    if len(location) < 2 or location[0] not in ("meters", "nodes", "templates"):
        return _dotted(location)
    item = location[1]
    kind = {"meters": "meter", "nodes": "node", "templates": "template"}[str(location[0])]
    if isinstance(item, int):
        entry = document.get(location[:2])
        name = entry.get("id") if isinstance(entry, dict) else None
        item = str(name) if name is not None else f"number {item + 1}"
    rest = _dotted(location[2:])
    return f"{kind} {item}: {rest}" if rest else f"{kind} {item}"


def _dotted(location: Location) -> str:
    text = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".")
