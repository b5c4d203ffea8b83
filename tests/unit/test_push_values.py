"""From bodies to values: patterns, OBIS codes, the push object list, and what is said when a value is none."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from connectors.dlms.events import Attribute
from connectors.dlms.push.notification import Notification, parse
from connectors.dlms.push.objects import objects
from connectors.dlms.push.values import Interpreter, shape
from model.messages import ErrorKind
from model.settings.template import TemplateSettings

VOLTAGE = bytes.fromhex("0100200700FF")
DEMAND = bytes.fromhex("0100010400FF")


def read(template: dict[str, Any], body: Any, attribute: Attribute | None = None) -> tuple[dict[str, Any], list[Any]]:
    settings = TemplateSettings.model_validate(template)
    contents = Interpreter(settings.read, settings.push).read(Notification(None, body, attribute))
    return {raw.key: (raw.value, raw.scaler, raw.unit) for raw in contents.values}, list(contents.errors)


def test_patterns_reach_into_structures_and_skip_what_is_null():
    template = {
        "read": {"voltage": "1-0:32.7.0", "serial": {"obis": "0-0:96.1.0", "class": 1}},
        "push": {"patterns": [[["serial", None], [[None, "voltage"]]]], "units": {"voltage": {"unit": "V"}}},
    }
    assert read(template, [[b"SN-1", 5], [[1, 230]]]) == ({"serial": ("SN-1", None, None), "voltage": (230, 0, 35)}, [])


@pytest.mark.parametrize("body", [[1], [1, 2, 3], [[1], 2], [1, [[2]]], 5, None])
def test_a_pattern_fits_its_own_shape_only(body):
    template = {
        "read": {"voltage": "1-0:32.7.0"},
        "push": {"patterns": [[None, ["voltage"]]], "units": {"voltage": {"unit": "V"}}},
    }
    values, errors = read(template, body)
    assert values == {}
    assert f"it is {shape(body)}" in errors[0].detail


def test_a_pattern_that_fits_goes_before_what_looks_like_an_obis_code():
    template = {
        "read": {"voltage": "1-0:32.7.0"},
        "push": {"patterns": [[None, "voltage"]], "units": {"voltage": {"scaler": -1, "unit": "V"}}},
    }
    assert read(template, [DEMAND, 2301])[0] == {"voltage": (2301, -1, 35)}


def test_null_data_is_an_error_of_its_key_and_the_others_are_read():
    values, errors = read({"read": {"voltage": "1-0:32.7.0", "demand": "1-0:1.4.0"}}, [[VOLTAGE, None], [DEMAND, 5, [3, 27]]])
    assert values == {"demand": (5, 3, 27)}
    assert [(error.key, error.kind) for error in errors] == [("voltage", ErrorKind.NO_VALUE)]


def test_a_code_alone_means_the_value_and_the_list_of_objects_means_its_attribute():
    template = {
        "read": {"average": {"obis": "1-0:1.4.0", "class": 5, "attribute": 2}, "last": {"obis": "1-0:1.4.0", "class": 5, "attribute": 3}},
        "push": {"units": {"average": {"unit": "W"}, "last": {"unit": "W"}}},
    }
    assert read(template, [DEMAND, 7])[0] == {"average": (7, 0, 27)}
    listed = [[[40, b"\x00\x00\x19\x09\x00\xff", 2, 0], [5, DEMAND, 3, 0]], 8]
    assert read(template, listed)[0] == {"last": (8, 0, 27)}


def test_a_scaler_that_is_pushed_as_an_object_of_its_own_is_used():
    body = [[[3, VOLTAGE, 2, 0], [3, VOLTAGE, 3, 0]], 2301, [-1, 35]]
    assert read({"read": {"voltage": "1-0:32.7.0"}}, body) == ({"voltage": (2301, -1, 35)}, [])


def test_two_keys_of_one_object_both_get_it():
    template = {"read": {"voltage": "1-0:32.7.0", "again": "1-0:32.7.0"}}
    assert read(template, [VOLTAGE, 5, [0, 35]])[0] == {"voltage": (5, 0, 35), "again": (5, 0, 35)}


def test_what_the_template_does_not_want_is_left_out_and_nothing_at_all_is_an_error():
    assert read({"read": {"voltage": "1-0:32.7.0"}}, [[VOLTAGE, 5, [0, 35]], [DEMAND, 5, [0, 27]]])[0] == {"voltage": (5, 0, 35)}
    values, errors = read({"read": {"voltage": "1-0:32.7.0"}}, [[DEMAND, 5, [0, 27]]])
    assert values == {}
    assert "1.0.1.4.0.255, none of which the template reads" in errors[0].detail


def test_an_event_needs_class_and_attribute_to_fit():
    template = {"read": {"event": {"obis": "0-0:96.11.0", "class": 1}}}
    name = bytes.fromhex("0000600B00FF")
    assert read(template, 24, Attribute(1, name, 2))[0] == {"event": (24, None, None)}
    assert read(template, 24, Attribute(3, name, 2))[0] == {}


@pytest.mark.parametrize("body", [None, 5, [], [[], 1], [[[3, b"short", 2, 0]], 1]])
def test_a_body_without_codes_has_no_objects(body):
    assert objects(body) == []


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("00", None),
        ("0C 07EA0504 01 13131E 00 FF88 80", datetime(2026, 5, 4, 17, 19, 30, tzinfo=timezone.utc)),
        ("09 0C 07EA0504 01 13131E 00 FF88 80", datetime(2026, 5, 4, 17, 19, 30, tzinfo=timezone.utc)),
        ("0C 07EA0504 01 13131E 00 0000 FF", datetime(2026, 5, 4, 19, 19, 30, tzinfo=timezone.utc)),
        ("0C 07EA0504 01 13131E 00 8000 00", None),  # no deviation: nobody knows where that is
        ("0C 07EA0504 01 13131E 00 0000 01", None),  # the meter calls its clock invalid
        ("0C FFFFFFFF FF FFFFFF FF 8000 FF", None),
    ],
)
def test_the_time_of_a_notification(time, expected):
    assert parse(bytes.fromhex(f"0F 00000001 {time} 11 01".replace(" ", ""))).time == expected


def test_the_shape_of_a_long_body_is_cut():
    assert len(shape([[5] * 1000] * 1000)) < 320
