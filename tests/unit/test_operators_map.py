from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import bytewax.operators as op
import pytest
import yaml
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from model.errors import PipelineError
from model.messages import Cycle, ErrorKind, Origin, Outcome, RawValue, ReadError, Reading, Rejection
from model.node import MAIN, BuildContext
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from operators.map import NODE, CycleMapper, MapSettings

STARTED = datetime(2024, 3, 1, 12, 0, 0, 123_456, tzinfo=timezone.utc)
TS = STARTED.replace(microsecond=123_000)

READ = {
    "voltage_l1": "1-0:32.7.0",
    "energy": {"obis": "1-0:1.8.0", "unit": "kWh", "rename": "energy_import"},
    "current": {"obis": "1-0:31.7.0", "scale": "40"},
    "cos_phi": {"obis": "1-0:13.7.0", "unit": "cosφ"},
    "serial": {"obis": "0-0:96.1.0", "class": 1},
}


def pipeline(read: dict[str, Any] | None = None, **meter: Any) -> PipelineSettings:
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "embedded", "token": "a-token"},
            "templates": {"three-phase": {"read": read or READ}},
            "meters": [
                {"id": "m1", "connect": "sim://three-phase", "template": "three-phase", "tags": {"site": "lab"}, **meter},
                {"id": "m2", "connect": "sim://three-phase", "template": "three-phase"},
            ],
            "nodes": [{"id": "mapped", "type": "map"}],
        }
    )


def cycle(*values: RawValue, meter: str = "m1") -> Cycle:
    return Cycle(meter, STARTED, STARTED, 1.5, Outcome.OK, values)


def mapped(*values: RawValue, settings: dict[str, Any] | None = None, read: dict[str, Any] | None = None) -> list[Reading | Rejection]:
    return CycleMapper(MapSettings.model_validate(settings or {}), pipeline(read))(cycle(*values))


def only(results: list[Reading | Rejection]) -> Reading:
    assert len(results) == 1
    assert isinstance(results[0], Reading)
    return results[0]


def rejected(results: list[Reading | Rejection]) -> Rejection:
    assert len(results) == 1
    assert isinstance(results[0], Rejection)
    assert results[0].rule == "map"
    return results[0]


@pytest.fixture
def user_module() -> Iterator[Callable[[Callable[..., Any]], str]]:
    module = types.ModuleType("a_users_module")
    sys.modules[module.__name__] = module

    def offer(function: Any) -> str:
        module.function = function  # type: ignore[attr-defined]
        return "a_users_module:function"

    yield offer
    del sys.modules[module.__name__]


def test_reading_has_everything() -> None:
    reading = only(mapped(RawValue("voltage_l1", 23010, -2, 35)))
    assert reading == Reading(
        "m1", "voltage_l1", Decimal("230.10"), "V", TS, Origin.POLL, STARTED + timedelta(seconds=1.5), (("site", "lab"),)
    )
    assert str(reading.value) == "230.10"


def test_readings_of_a_notification_say_so_and_when_it_came() -> None:
    pushed = replace(cycle(RawValue("voltage_l1", 23010, -2, 35)), origin=Origin.PUSH, received=STARTED + timedelta(minutes=5))
    results = CycleMapper(MapSettings(constants={"site": "lab"}), pipeline())(pushed)
    assert [(result.origin, result.ts, result.read_at) for result in results if isinstance(result, Reading)] == [
        (Origin.PUSH, TS, STARTED + timedelta(minutes=5))
    ] * 2


def test_template_gives_unit_scale_and_name() -> None:
    energy, current, cos_phi = mapped(
        RawValue("energy", 123_456, 1, 30), RawValue("current", 125, -2, 33), RawValue("cos_phi", 987, -3, 255)
    )
    assert isinstance(energy, Reading) and isinstance(current, Reading) and isinstance(cos_phi, Reading)
    assert (energy.key, str(energy.value), energy.unit) == ("energy_import", "1234.56", "kWh")
    assert (current.key, current.value, current.unit) == ("current", 50, "A")
    assert (cos_phi.value, cos_phi.unit) == (Decimal("0.987"), "cosφ")


def test_text_passes_as_it_is() -> None:
    reading = only(mapped(RawValue("serial", "00012345")))
    assert (reading.value, reading.unit) == ("00012345", None)


def test_key_and_meter_that_are_not_configured_are_mapped_by_what_the_meter_says() -> None:
    mapper = CycleMapper(MapSettings(tags={"owner": "utility"}), pipeline())
    reading = only(mapper(cycle(RawValue("other", 5, 0, 27), meter="stranger")))
    assert (reading.meter, reading.key, reading.value, reading.unit, reading.tags) == ("stranger", "other", 5, "W", (("owner", "utility"),))


def test_unit_that_the_meter_does_not_report_is_a_rejection() -> None:
    rejection = rejected(mapped(RawValue("energy", 23010, -2, 35)))
    assert rejection.reason == "cannot convert V to kWh: voltage is not energy; the meter reports energy in V (DLMS unit 35)"
    assert (rejection.reading.key, rejection.reading.value, rejection.reading.unit) == ("energy_import", Decimal("230.10"), "V")


def test_meter_that_changes_its_unit_is_followed() -> None:
    mapper = CycleMapper(MapSettings(), pipeline())
    first = only(mapper(cycle(RawValue("energy", 1500, 0, 30))))
    second = only(mapper(cycle(RawValue("energy", 15, 2, 30))))
    assert first.value == second.value == Decimal("1.5")
    assert rejected(mapper(cycle(RawValue("energy", 1500, 0, 32)))).reason.startswith("cannot convert varh to kWh")


@pytest.mark.parametrize(("raw", "reason"), [("12 A", "'12 A' is not a number"), (True, "True is not a number")])
def test_what_is_not_a_number_cannot_be_scaled(raw: str | bool, reason: str) -> None:
    rejection = rejected(mapped(RawValue("current", raw, None, None)))
    assert rejection.reason == f"{reason} and cannot be scaled or converted"
    assert rejection.reading.value == raw


@pytest.mark.parametrize("raw", ["NaN", "sNaN", "Infinity"])
def test_float_that_is_not_finite_is_a_rejection(raw: str) -> None:
    assert "is not a finite number" in rejected(mapped(RawValue("voltage_l1", Decimal(raw), None, 35))).reason


def test_units_setting_converts_every_value_of_a_unit_but_the_templates_unit_goes_first() -> None:
    read = {"a": "1-0:1.8.0", "b": {"obis": "1-0:2.8.0", "unit": "MWh"}, "c": "1-0:32.7.0"}
    a, b, c = mapped(
        RawValue("a", 1500, 0, 30), RawValue("b", 1500, 0, 30), RawValue("c", 230, 0, 35), settings={"units": {"Wh": "kWh"}}, read=read
    )
    assert isinstance(a, Reading) and isinstance(b, Reading) and isinstance(c, Reading)
    assert [(r.value, r.unit) for r in (a, b, c)] == [(Decimal("1.5"), "kWh"), (Decimal("0.0015"), "MWh"), (230, "V")]


def test_keep_drop_and_rename_patterns() -> None:
    read = {f"voltage_l{phase}": "1-0:32.7.0" for phase in (1, 2, 3)} | {"power": "1-0:1.7.0", "power_factor": "1-0:13.7.0"}
    results = mapped(
        *(RawValue(key, 1, 0, 35) for key in read),
        settings={"keep": ["voltage*", "power*"], "drop": ["*_l3", "power_?actor"], "rename": {"voltage_l*": "u*", "voltage*": "other"}},
        read=read,
    )
    assert [result.key for result in results if isinstance(result, Reading)] == ["u1", "u2", "power"]
    assert len(results) == 3


def test_constants_come_with_every_cycle_that_gave_a_reading() -> None:
    mapper = CycleMapper(MapSettings.model_validate({"constants": {"site": "Nord", "ratio": 0.1, "phases": 3, "test": True}}), pipeline())
    results = mapper(cycle(RawValue("voltage_l1", 230, 0, 35)))
    values = {result.key: result.value for result in results if isinstance(result, Reading)}
    assert values == {"voltage_l1": 230, "site": "Nord", "ratio": Decimal("0.1"), "phases": 3, "test": True}
    assert type(values["test"]) is bool and type(values["phases"]) is int
    assert {result.ts for result in results if isinstance(result, Reading)} == {TS}
    failed = Cycle("m1", STARTED, STARTED, 5.0, Outcome.FAILED, (), (ReadError(None, ErrorKind.TIMEOUT, "silent"),))
    assert mapper(failed) == []
    rejected(mapper(cycle(RawValue("energy", 1, 0, 35))))


def test_meters_own_tags_go_first() -> None:
    mapper = CycleMapper(MapSettings(tags={"site": "default", "owner": "utility"}), pipeline())
    assert only(mapper(cycle(RawValue("serial", "1")))).tags == (("owner", "utility"), ("site", "lab"))
    assert only(mapper(cycle(RawValue("serial", "1"), meter="m2"))).tags == (("owner", "utility"), ("site", "default"))


def test_overrides_of_one_meter_do_not_touch_the_others() -> None:
    mapper = CycleMapper(MapSettings(), pipeline(overrides={"voltage_l1": {"obis": "1-0:32.7.0", "scale": "100"}}))
    assert only(mapper(cycle(RawValue("voltage_l1", 231, 0, 35)))).value == 23100
    assert only(mapper(cycle(RawValue("voltage_l1", 231, 0, 35), meter="m2"))).value == 231


def test_two_values_under_one_key_are_refused_when_the_node_is_built() -> None:
    with pytest.raises(PipelineError, match="map gives meter 'm1' two values under the key 'u': voltage_l1 and current"):
        CycleMapper(MapSettings(rename={"voltage_l1": "u", "current": "u"}), pipeline())
    with pytest.raises(PipelineError, match="'serial': constants and serial"):
        CycleMapper(MapSettings(constants={"serial": "x"}), pipeline())


def test_unit_that_is_probably_a_slip_is_pointed_out() -> None:
    with capture_logs() as logs:
        CycleMapper(MapSettings(), pipeline({"p": {"obis": "1-0:1.7.0", "unit": "kw"}, "f": {"obis": "1-0:13.7.0", "unit": "cosφ"}}))
    assert [(entry["unit"], entry["did_you_mean"]) for entry in logs] == [("kw", "kW")]


def test_callable_may_change_multiply_and_leave_out(user_module: Callable[[Any], str]) -> None:
    def function(reading: Reading) -> Reading | list[Reading] | None:
        import dataclasses

        if reading.key == "serial":
            return None
        if reading.key == "current":
            return [reading, dataclasses.replace(reading, key="current_doubled", value=reading.value * 2)]
        return dataclasses.replace(reading, unit="volt")

    results = mapped(
        RawValue("serial", "1"),
        RawValue("current", 1, 0, 33),
        RawValue("voltage_l1", 230, 0, 35),
        settings={"call": user_module(function), "constants": {"site": "x"}},
    )
    assert [(r.key, r.value, r.unit) for r in results if isinstance(r, Reading)] == [
        ("current", 40, "A"),
        ("current_doubled", 80, "A"),
        ("voltage_l1", 230, "volt"),
        ("site", "x", None),
    ]


def test_callable_may_return_any_kind_of_list_or_tuple(user_module: Callable[[Any], str]) -> None:
    class Both(NamedTuple):
        first: Reading
        second: Reading

    def function(reading: Reading) -> Both:
        return Both(reading, reading)

    results = mapped(RawValue("voltage_l1", 230, 0, 35), settings={"call": user_module(function)})
    assert [result.key for result in results if isinstance(result, Reading)] == ["voltage_l1", "voltage_l1"]


def test_callable_that_raises_is_a_rejection_with_its_message(user_module: Callable[[Any], str]) -> None:
    def function(reading: Reading) -> Reading:
        raise KeyError("no ratio for m1")

    rejection = rejected(mapped(RawValue("voltage_l1", 230, 0, 35), settings={"call": user_module(function)}))
    assert rejection.reason == "a_users_module:function raised KeyError: 'no ratio for m1'"
    assert rejection.reading.value == 230


def _returns(change: dict[str, Any]) -> Callable[[Reading], Any]:
    import dataclasses

    return lambda reading: dataclasses.replace(reading, **change)


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (lambda reading: 5, "int, expected a Reading, a list of them, or None"),
        (lambda reading: RawValue("a", 1), "RawValue, expected a Reading, a list of them, or None"),
        (lambda reading: [reading, "x"], "str, expected a Reading"),
        (_returns({"meter": "m2"}), "a reading of meter 'm2'; the meter must stay the same"),
        (_returns({"value": 1.5}), "a value of type float for 'voltage_l1'"),
        (_returns({"value": Decimal("NaN")}), "NaN for 'voltage_l1', expected a finite number"),
        (_returns({"key": ""}), "the key ''"),
        (_returns({"unit": 35}), "the unit 35 for 'voltage_l1'"),
        (_returns({"ts": datetime(2024, 1, 1)}), "the times 2024-01-01 00:00:00 and"),
        (_returns({"read_at": TS.astimezone(timezone(timedelta(hours=1)))}), "the times 2024-03-01 12:00:00.123000+00:00 and"),
        (_returns({"ts": STARTED}), "the timestamp 2024-03-01T12:00:00.123456+00:00 for 'voltage_l1', expected whole milliseconds"),
        (_returns({"ts": "yesterday"}), "the times yesterday and"),
        (_returns({"read_at": None}), "the times 2024-03-01 12:00:00.123000+00:00 and None"),
        (_returns({"origin": "poll"}), "the origin 'poll' for 'voltage_l1', expected an Origin"),
        (_returns({"tags": None}), "the tags None for 'voltage_l1', expected a tuple of pairs of text"),
        (_returns({"tags": {"site": "x"}}), "the tags {'site': 'x'} for 'voltage_l1'"),
        (_returns({"tags": [("site", "x")]}), "the tags [('site', 'x')] for 'voltage_l1'"),
        (_returns({"tags": (("site", 5),)}), "the tags (('site', 5),) for 'voltage_l1'"),
        (_returns({"tags": ("ab",)}), "the tags ('ab',) for 'voltage_l1'"),
        (_returns({"key": None}), "the key None"),
        (_returns({"key": "\ud800"}), "the key '\\ud800'"),
        (_returns({"value": "\ud800"}), "the value '\\ud800' for 'voltage_l1', expected text in Unicode"),
        (_returns({"value": Decimal("1E+9999999")}), "a number beyond 1E+300 for 'voltage_l1'"),
        (_returns({"value": 10**5000}), "a number beyond 1E+300 for 'voltage_l1'"),
    ],
)
def test_callable_that_returns_something_unfit_is_a_rejection(function: Any, fault: str, user_module: Callable[[Any], str]) -> None:
    rejection = rejected(mapped(RawValue("voltage_l1", 230, 0, 35), settings={"call": user_module(function)}))
    assert rejection.reason.startswith(f"a_users_module:function returned {fault}")
    assert rejection.reading.value == 230


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("not a path", "is not an import path; write package.module:function"),
        ("json", "is not an import path"),
        ("no_such_module_anywhere:f", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module_anywhere'; install"),
        ("json:no_such_function", "cannot be imported: 'json' has no 'no_such_function'"),
        ("json:__doc__", "is a str, not a function"),
        ("asyncio:sleep", "is a coroutine or a generator"),
        ("operator:add", "it must accept one argument"),
    ],
)
def test_callable_is_checked_when_the_configuration_is_read(path: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MapSettings.model_validate({"call": path})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": {"Wh": "kW"}}, "cannot convert Wh to kW: energy is not power"),
        ({"rename": {"voltage": "u*"}}, "the new key has more wildcards than the pattern"),
        ({"rename": {"voltage": ""}}, "gives 'voltage' an empty name"),
        ({"drop": [""]}, "at least 1 character"),
        ({"droop": ["x"]}, "Extra inputs are not permitted"),
        ({"constants": {"x": None}}, "constants.x"),
        ({"constants": {"x": float("nan")}}, "constants.x"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MapSettings.model_validate(settings)
    assert message in str(caught.value)


@given(st.integers(-(2**63), 2**64 - 1), st.integers(-20, 20), st.sampled_from([27, 30, 33, 35, 44, 255]))
def test_value_is_the_raw_integer_times_the_power_of_ten_exactly(raw: int, scaler: int, unit: int) -> None:
    reading = only(mapped(RawValue("voltage_l1", raw, scaler, unit)))
    assert not isinstance(reading.value, (bool, str))
    assert type(reading.value) in (int, Decimal)
    assert Fraction(reading.value) == Fraction(raw) * Fraction(10) ** scaler
    assert "E" not in format(reading.value, "f")


@given(
    st.one_of(st.integers(), st.decimals(), st.text(), st.booleans()),
    st.one_of(st.none(), st.integers(-128, 127)),
    st.one_of(st.none(), st.integers(0, 255)),
    st.sampled_from([*READ, "unknown"]),
)
def test_whatever_a_meter_says_gives_one_reading_or_one_rejection(value: Any, scaler: int | None, unit: int | None, key: str) -> None:
    (result,) = mapped(RawValue(key, value, scaler, unit))
    reading = result.reading if isinstance(result, Rejection) else result
    assert reading.key == ("energy_import" if key == "energy" else key)
    if isinstance(result, Reading) and isinstance(result.value, Decimal):
        assert result.value.is_finite()


@pytest.mark.parametrize("workers", [1, 2])
def test_flow_has_two_ports(workers: int) -> None:
    flow = Dataflow("test")
    cycles = [
        (meter, cycle(RawValue("voltage_l1", n, 0, 35), RawValue("energy", n, 0, 35), meter=meter))
        for n in range(5)
        for meter in ("m1", "m2")
    ]
    first = op.input("first", flow, TestingSource(cycles[:4], batch_size=3))
    second = op.input("second", flow, TestingSource(cycles[4:], batch_size=3))
    settings = NODE.settings.model_validate({"rename": {"voltage_l*": "u*"}})
    ctx = BuildContext(flow, "mapped", settings, pipeline(), Stop(), lambda meter, connect: connect, lambda url: url)
    ports = NODE.build(ctx, [first, second])
    assert set(ports) == set(NODE.emits) == {MAIN, "rejected"}
    readings: list[tuple[str, Reading]] = []
    rejections: list[tuple[str, Rejection]] = []
    op.output("readings", ports[MAIN], TestingSink(readings))
    op.output("rejections", ports["rejected"], TestingSink(rejections))
    if workers == 1:
        run_main(flow)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)
    expected = sorted((meter, n) for n in range(5) for meter in ("m1", "m2"))
    assert sorted((meter, reading.value) for meter, reading in readings) == expected
    assert sorted((meter, rejection.reading.value) for meter, rejection in rejections) == expected
    assert all(meter == reading.meter and reading.key == "u1" for meter, reading in readings)
    assert "mapped" in [step.step_id.split(".")[-1] for step in flow.substeps]


def test_example_is_valid() -> None:
    (node,) = yaml.safe_load(NODE.example)
    assert node["type"] == NODE.name
    NODE.settings.model_validate(node["settings"])
