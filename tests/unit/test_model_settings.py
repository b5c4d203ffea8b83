from __future__ import annotations

from decimal import Decimal
from typing import Any, Union

import pytest
from pydantic import ValidationError

from model.settings.base import Duration, Settings
from model.settings.meter import MeterSettings
from model.settings.security import LONGEST_PASSWORD
from model.settings.template import TemplateSettings


def meter(**more: Any) -> MeterSettings:
    return MeterSettings.model_validate({"id": "desk", "connect": "tcp://192.0.2.1:4059", "template": "basic", **more})


class Numbers(Settings):
    """One field of each kind."""

    count: int = 0
    share: float = 0.0
    exact: Decimal = Decimal(0)
    perhaps: Union[int, None] = None
    wait: Duration = 1.0
    waits: tuple[Duration, ...] = ()
    flag: bool = False
    either: Union[bool, int] = 0


@pytest.mark.parametrize("field", ["count", "share", "exact", "perhaps", "wait"])
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_numbers(field, value):
    with pytest.raises(ValidationError) as caught:
        Numbers.model_validate({field: value})
    (error,) = caught.value.errors()
    assert error["loc"] == (field,)
    assert error["type"] in ("int_type", "float_type")


def test_true_is_no_duration_in_a_list_either():
    with pytest.raises(ValidationError):
        Numbers.model_validate({"waits": [True]})


def test_true_and_numbers_stay_what_they_are_where_they_belong():
    numbers = Numbers.model_validate({"flag": True, "either": True, "count": 1, "share": "0.5", "wait": "2m", "perhaps": None})
    assert (numbers.flag, numbers.either, numbers.count, numbers.share, numbers.wait) == (True, True, 1, 0.5, 120.0)


@pytest.mark.parametrize("interval", ["99ms", 0.0001, "0.0001s"])
def test_an_interval_below_100_ms_is_refused(interval):
    for build in (
        lambda: meter(interval=interval),
        lambda: TemplateSettings.model_validate({"interval": interval, "read": {"v": "1-0:1.7.0"}}),
    ):
        with pytest.raises(ValidationError, match="write 100ms or more"):
            build()
    assert meter(interval="100ms").interval == 0.1


def test_port_0_is_no_port():
    with pytest.raises(ValidationError, match="port 1 to 65535"):
        meter(connect="tcp://192.0.2.1:0")


@pytest.mark.parametrize("key", ["", " "])
def test_a_key_must_not_be_empty(key):
    with pytest.raises(ValidationError, match="a key is empty"):
        TemplateSettings.model_validate({"read": {key: "1-0:1.7.0"}})
    with pytest.raises(ValidationError, match="a key is empty"):
        meter(overrides={key: None})


@pytest.mark.parametrize(
    ("text", "octets"),
    [("12345678", b"12345678"), ("hex:0102aAff", b"\x01\x02\xaa\xff"), ("hex:", b""), ("Zähler", "Zähler".encode()), ("HEX:01", b"HEX:01")],
)
def test_password_bytes_are_those_on_the_wire(text, octets):
    assert meter(authentication="low", password=text).password_bytes() == octets


def test_a_meter_without_a_password_has_no_password_bytes():
    assert meter().password_bytes() is None


@pytest.mark.parametrize(
    "password", ["hex:012", "hex:xy", "secret\udcff", "x" * (LONGEST_PASSWORD + 1), "hex:" + "00" * (LONGEST_PASSWORD + 1)]
)
def test_a_password_that_cannot_be_sent_is_refused_without_showing_it(password):
    with pytest.raises(ValidationError) as caught:
        meter(authentication="low", password=password)
    assert "secret" not in str(caught.value)
    assert password not in str(caught.value)


def test_the_length_of_a_password_counts_what_is_sent():
    assert len(meter(authentication="low", password="hex:" + "00" * LONGEST_PASSWORD).password_bytes() or b"") == LONGEST_PASSWORD
