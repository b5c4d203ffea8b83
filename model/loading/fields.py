"""What the settings models say about the data of a file, before the data is known to be right.

The models and the data are walked side by side, which tells where secrets and paths stand and how a key is described.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from model.loading.document import Location


def secret_locations(model: type[BaseModel], data: Any, location: Location = ()) -> Iterator[Location]:
    """Where in `data`, which should become a `model`, a secret stands."""
    return (found for found, plain in _leaves(model, data, location) if SecretStr in plain)


def path_locations(model: type[BaseModel], data: Any, location: Location = ()) -> Iterator[Location]:
    """Where in `data`, which should become a `model`, the path of a file or folder stands."""
    return (found for found, plain in _leaves(model, data, location) if Path in plain)


def empty_keys(model: type[BaseModel], data: Any, location: Location = ()) -> Iterator[Location]:
    """Keys without a value, such as `tags:` with nothing behind it, whose field takes no null: they mean nothing."""
    for found, plain in _leaves(model, data, location):
        inner = found[len(location) :]
        if type(None) not in plain and field_at(model, inner) is not None and _value(data, inner) is None:
            yield found


def secrets_in(value: Any) -> Iterator[str]:
    """Every secret in a validated model, in the clear."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from secrets_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from secrets_in(inner)


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of `model` by the key that a file uses for them."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def models_at(model: type[BaseModel], location: Location) -> list[type[BaseModel]]:
    """The models that may stand at `location` inside a `model`: none for a plain value, several for a union."""
    annotations: list[Any] = [model]
    for part in location:
        annotations = [inner for annotation in annotations for inner in _inside(annotation, part)]
    return [plain for annotation in annotations for plain in _plain(annotation) if _is_model(plain)]


def field_at(model: type[BaseModel], location: Location) -> FieldInfo | None:
    """The field that `location` leads to; None where it leads to an item of a list or mapping, or to nothing."""
    if not location:
        return None
    for owner in models_at(model, location[:-1]):
        found = keys_of(owner).get(str(location[-1])) or owner.model_fields.get(str(location[-1]))
        if found is not None:
            return found
    return None


def _value(data: Any, location: Location) -> Any:
    for part in location:
        data = data[part]
    return data


def _leaves(annotation: Any, data: Any, location: Location) -> Iterator[tuple[Location, set[Any]]]:
    if isinstance(data, dict):
        for key, value in data.items():
            for inner in _inside(annotation, key):
                yield from _leaves(inner, value, (*location, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            for inner in _inside(annotation, index):
                yield from _leaves(inner, value, (*location, index))
    else:
        yield location, set(_plain(annotation))


def _inside(annotation: Any, part: str | int) -> list[Any]:
    """The annotations of what `part` (a key or an index) leads to."""
    found = []
    for plain in _plain(annotation):
        arguments = get_args(plain)
        if _is_model(plain):
            info = keys_of(plain).get(str(part)) or plain.model_fields.get(str(part))
            found += [] if info is None else [info.annotation]
        elif get_origin(plain) is dict and len(arguments) == 2:
            found.append(arguments[1])
        elif get_origin(plain) in (list, tuple, set, frozenset) and arguments:
            found.append(arguments[0])
    return found


def _plain(annotation: Any) -> list[Any]:
    """The members of a union, without Annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [plain for member in get_args(annotation) for plain in _plain(member)]
    if origin is Literal:
        return [type(value) for value in get_args(annotation)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
