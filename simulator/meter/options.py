"""Options of virtual meters written as text, `key=value`, as in sim:// urls and on the command line."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from model.obis import parse_logical_name
from simulator.meter.behaviour import Behaviour, named_behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.profiles import find_profile

_CONFIG_KEYS = (
    "seed",
    "mean_power",
    "capture_period",
    "profile_entries",
    "time_zone",
    "max_pdu_size",
    "hdlc_information_size",
    "inactivity_timeout",
    "exchanges_kept",
    "server_logical",
    "server_physical",
    "server_address_size",
    "system_title",
    "initial_client_counter",
    "initial_server_counter",
    "counter_file",
    "referencing",
    "association",
    "gateway_address",
    "gateway_network",
    "announced_pdu_size",
    "hdlc_window",
)
_TRUTHS = {"true": True, "yes": True, "1": True, "": True, "false": False, "no": False, "0": False}
_WRITTEN_AS = {int: "a whole number", bytes: "pairs of hexadecimal digits"}


class Options(NamedTuple):
    """Fields of `MeterConfig` and of `Behaviour` that differ from the defaults."""

    config: dict[str, Any]
    behaviour: dict[str, Any]


def parse_options(profile: str, query: Mapping[str, str]) -> Options:
    """The options of a meter profile, changed by `query`: `behaviour` names one, the other keys set single fields.

    :raises ValueError: when the profile, a key or a value is not possible; the message lists what is.
    """
    kind = find_profile(profile)
    config: dict[str, Any] = {"profile": profile, **kind.config}
    behaviour: dict[str, Any] = {**kind.behaviour, **named_behaviour(query.get("behaviour", "honest"))}
    config_types, behaviour_types = get_type_hints(MeterConfig), get_type_hints(Behaviour)
    for key, text in query.items():
        if key in behaviour_types:
            behaviour[key] = _parse(key, text, behaviour_types[key])
        elif key in _CONFIG_KEYS:
            config[key] = _parse(key, text, config_types[key])
        elif key != "behaviour":
            raise ValueError(f"option {key!r} is not known; possible are behaviour, {', '.join((*_CONFIG_KEYS, *behaviour_types))}")
    return Options(config, behaviour)


def _parse(key: str, text: str, expected: Any) -> Any:
    origin = get_origin(expected)
    if origin is Literal:
        return _one_of(key, text, get_args(expected))
    if origin in (Union, types.UnionType):
        expected = next(kind for kind in get_args(expected) if kind is not type(None))
    if key == "gateway_address":
        return octets(text, key)
    if expected is bool:
        _one_of(key, text.lower(), tuple(_TRUTHS))
        return _TRUTHS[text.lower()]
    if get_origin(expected) is frozenset:
        return frozenset(parse_logical_name(name) for name in text.split(",") if name)
    convert: Callable[[str], Any] = bytes.fromhex if expected is bytes else expected
    try:
        return convert(text)
    except ValueError:
        raise ValueError(f"{key}={text!r} is not possible; write {_WRITTEN_AS.get(expected, 'a number')}") from None


def octets(text: str, what: str) -> bytes:
    """Bytes as settings write them: text, or hex:0102.

    :raises ValueError: when hex: is not followed by pairs of hexadecimal digits; the message does not show them.
    """
    if not text.startswith("hex:"):
        return text.encode()
    try:
        return bytes.fromhex(text[4:])
    except ValueError:
        raise ValueError(f"{what} that begins with hex: must go on with pairs of hexadecimal digits") from None


def _one_of(key: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(f"{key}={text!r} is not possible; possible are {', '.join(choice for choice in choices if choice)}")
    return text
