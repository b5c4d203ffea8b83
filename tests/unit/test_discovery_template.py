"""Keys from OBIS codes, and templates that pass `check` whatever a meter has."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.discovery.entry import load_entry, parse_settings
from commands.discovery.keys import key_of, profile_key
from commands.discovery.template import scalar, whole_file
from commands.discovery.walk import FoundMeter, FoundProfile, FoundValue, ListedObject
from connectors.dlms.profile.capture import Column
from flows.registry import installed_node_types
from model.loading.load import Loaded, load
from model.obis import parse_logical_name

CLOCK = Column(8, parse_logical_name("0-0:1.0.0"), 2)


@pytest.mark.parametrize(
    ("obis", "key"),
    [
        ("1-0:1.8.0", "energy_import"),
        ("1-1:2.8.0", "energy_export"),
        ("1-0:1.8.2", "energy_import_tariff_2"),
        ("1-0:3.8.0", "reactive_energy_import"),
        ("1-0:9.8.0", "apparent_energy_import"),
        ("1-0:1.7.0", "power_import"),
        ("1-0:21.7.0", "power_import_l1"),
        ("1-0:32.7.0", "voltage_l1"),
        ("1-0:52.7.0", "voltage_l2"),
        ("1-0:71.7.0", "current_l3"),
        ("1-0:91.7.0", "current_neutral"),
        ("1-0:13.7.0", "power_factor"),
        ("1-0:33.7.0", "power_factor_l1"),
        ("1-0:14.7.0", "frequency"),
        ("1-0:1.6.0", "power_import_demand_max"),
        ("0-0:1.0.0", "clock"),
        ("0-0:96.1.0", "device_id"),
        ("0-0:42.0.0", "logical_device_name"),
        ("0-0:43.1.0", "invocation_counter"),
        ("7-1:3.0.0", "gas_volume"),
        ("1-0:32.32.0", "obis_1_0_32_32_0"),
        ("0-0:94.91.18", "obis_0_0_94_91_18"),
    ],
)
def test_well_known_objects_have_sensible_keys(obis: str, key: str) -> None:
    assert key_of(parse_logical_name(obis)) == key


def test_profiles_have_names() -> None:
    assert profile_key(parse_logical_name("1-0:99.1.0")) == "load_profile"
    assert profile_key(parse_logical_name("0-0:99.98.0")) == "event_log"
    assert profile_key(parse_logical_name("0-0:98.1.0")) == "billing"


def loaded(found: FoundMeter, folder: Path, **entry: object) -> Loaded:
    file = folder / "pipeline.yaml"
    file.write_text(whole_file(found, "discovered", {"id": "m", "connect": "tcp://192.0.2.1:4059", **entry}, "state/lab"), encoding="utf-8")
    return load(file, installed_node_types(), environment={"TB_TOKEN": "t", "METER_PASSWORD": "12345678"})


def value(obis: str, class_id: int = 3, attribute: int = 2, found: object = 5, problem: str = "") -> FoundValue:
    return FoundValue(ListedObject(class_id, 0, parse_logical_name(obis)), attribute, found, -1, 35, problem)  # type: ignore[arg-type]


def test_a_file_keeps_its_state_where_it_says(tmp_path: Path) -> None:
    found = FoundMeter()
    found.values = [value("1-0:32.7.0")]
    assert loaded(found, tmp_path).settings.state_dir == tmp_path / "state" / "lab"


def test_what_was_found_is_read(tmp_path: Path) -> None:
    found = FoundMeter()
    found.values = [
        value("1-0:32.7.0"),
        value("1-1:32.7.0"),
        value("1-0:1.6.0", 4),
        value("1-0:1.4.0", 5),
        value("1-0:1.4.0", 5, 3),
        value("0-0:1.0.0", 8),
        value("0-0:96.1.0", 1, 2, "0001 # 'quoted'\nand broken"),
        value("1-0:2.8.0", problem="read-write-denied"),
        value("1-0:1.8.0*101"),
    ]
    columns = (CLOCK, Column(3, parse_logical_name("1-0:32.7.0"), 2), Column(4, parse_logical_name("1-0:1.6.0"), 5))
    found.profiles = [
        FoundProfile(ListedObject(7, 1, parse_logical_name("1-0:99.1.0")), columns, 900, 100),
        FoundProfile(ListedObject(7, 1, parse_logical_name("0-0:99.98.0")), (CLOCK, Column(1, parse_logical_name("0-0:96.11.0"), 2))),
        FoundProfile(ListedObject(7, 1, parse_logical_name("0-0:99.97.0")), problem="read-write-denied"),
    ]
    configuration = loaded(found, tmp_path)
    template = configuration.settings.templates["discovered"]
    assert {key: (read.obis, read.class_id, read.attribute) for key, read in template.read.items()} == {
        "voltage_l1": ("1-0:32.7.0", 3, 2),
        "voltage_l1_ch1": ("1-1:32.7.0", 3, 2),
        "power_import_demand_max": ("1-0:1.6.0", 4, 2),
        "power_import_demand": ("1-0:1.4.0", 5, 2),
        "power_import_demand_last": ("1-0:1.4.0", 5, 3),
        "clock": ("0-0:1.0.0", 8, 2),
        "energy_import": ("1-0:1.8.0*101", 3, 2),
    }
    assert template.profiles["load_profile"].keys == {"1-0:32.7.0": "voltage_l1", "1-0:1.6.0@5": "power_import_demand_max_time"}
    assert template.profiles["event_log"].events == {}
    assert not configuration.warnings


def test_a_meter_that_shows_nothing_gives_a_template_all_the_same(tmp_path: Path) -> None:
    assert list(loaded(FoundMeter(), tmp_path).settings.templates["discovered"].read) == ["clock"]


NAMES = st.one_of(
    st.binary(min_size=6, max_size=6),
    st.tuples(st.just(1), st.integers(0, 2), st.integers(1, 100), st.integers(0, 30), st.integers(0, 3), st.just(255)).map(bytes),
)
VALUES = st.builds(
    FoundValue,
    st.builds(ListedObject, st.sampled_from([1, 3, 4, 5, 8]), st.just(0), NAMES),
    st.sampled_from([2, 3]),
    st.one_of(st.none(), st.integers(), st.text(max_size=80)),
    st.one_of(st.none(), st.integers(-128, 127)),
    st.one_of(st.none(), st.integers(0, 255)),
    st.sampled_from(["", "", "read-write-denied", "broken\nline: {"]),
)
PROFILES = st.builds(
    FoundProfile,
    st.builds(ListedObject, st.just(7), st.just(1), NAMES),
    st.lists(st.builds(Column, st.integers(1, 8), NAMES, st.integers(1, 9), st.integers(0, 3)), max_size=6).map(
        lambda more: (CLOCK, *more)
    ),
    st.integers(0, 100_000),
    st.one_of(st.none(), st.integers(0, 10_000)),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(VALUES, max_size=12), st.lists(PROFILES, max_size=3, unique_by=lambda profile: profile.item.logical_name))
def test_whatever_a_meter_has_the_template_passes_the_check(values: list[FoundValue], profiles: list[FoundProfile]) -> None:
    once = list({(v.item.class_id, v.item.logical_name, v.attribute): v for v in values}.values())
    with tempfile.TemporaryDirectory() as folder:
        loaded(FoundMeter(values=once, profiles=profiles), Path(folder))


@given(st.one_of(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=30), st.integers(), st.booleans()))
def test_a_scalar_is_read_back_as_it_was(what: object) -> None:
    assert yaml.safe_load(f"key: {scalar(what)}") == {"key": what}


def test_secrets_come_from_the_environment_only() -> None:
    with pytest.raises(ValueError, match="written out") as caught:
        parse_settings(["password=12345678"])
    assert "12345678" not in str(caught.value)
    assert parse_settings(["password=${METER_PASSWORD}", "client_sap=32", "framing=wrapper"]) == {
        "password": "${METER_PASSWORD}",
        "client_sap": 32,
        "framing": "wrapper",
    }
    with pytest.raises(ValueError, match="client_sap"):
        parse_settings(["client_sap"])


def test_a_setting_that_is_not_possible_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frming"):
        load_entry({"id": "m", "connect": "tcp://192.0.2.1:4059", "frming": "wrapper"}, tmp_path)


def test_secrets_stay_references_in_what_is_written(tmp_path: Path) -> None:
    configuration = loaded(FoundMeter(), tmp_path, client_sap=32, authentication="low", password="${METER_PASSWORD}")
    assert configuration.settings.meters[0].password_bytes() == b"12345678"
    assert "12345678" not in (tmp_path / "pipeline.yaml").read_text()
