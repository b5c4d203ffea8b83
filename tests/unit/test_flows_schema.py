from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from flows.registry import installed_node_types
from flows.schema import main, pipeline_schema
from model.loading.document import read_yaml

ROOT = Path(__file__).parents[2]
VALID = [ROOT / "pipeline.yaml", ROOT / "examples/one-meter.yaml", ROOT / "examples/fleet.yaml"]

SEEN_BY_A_SCHEMA = [
    "bad-duration",
    "bad-id",
    "bad-node-setting",
    "bad-obis",
    "empty-file",
    "missing-key",
    "missing-section",
    "no-token-and-no-sessions",
    "node-without-inputs",
    "not-a-mapping",
    "not-a-number",
    "out-of-range",
    "session-without-token",
    "sessions-empty",
    "source-with-inputs",
    "token-and-sessions",
    "unknown-choice",
    "unknown-key",
    "unknown-node-setting",
    "unknown-node-type",
    "unknown-section",
    "wrong-kind",
]


@pytest.fixture(scope="module")
def schema():
    return pipeline_schema(installed_node_types().usable())


@pytest.fixture(scope="module")
def errors(schema):
    validator = jsonschema.Draft7Validator(schema)

    def check(data) -> list[str]:
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]

    return check


def pipeline(**changes) -> dict:
    meter = {"id": "desk", "connect": "tcp://192.0.2.1:1", "template": "basic", **changes.pop("meter", {})}
    data = {
        "thingsboard": {"url": "embedded", "token": "x"},
        "templates": {"basic": {"read": {"voltage": "1-0:32.7.0"}}},
        "meters": [meter],
        "nodes": [{"id": "meters", "type": "dlms-in"}, {"id": "tap", "type": "debug", "inputs": ["meters"]}],
    }
    return {**data, **changes}


def test_the_schema_is_a_schema(schema):
    jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("path", VALID, ids=[path.name for path in VALID])
def test_the_files_that_come_with_the_project_pass(path, errors):
    document, problems = read_yaml(path)
    assert problems == []
    assert errors(document.data) == []


@pytest.mark.parametrize("case", SEEN_BY_A_SCHEMA)
def test_an_editor_marks_what_a_schema_can_see(case, errors):
    text = (ROOT / "tests/cases" / case / "pipeline.yaml").read_text(encoding="utf-8")
    assert errors(yaml.safe_load(text))


@pytest.mark.parametrize(
    "meter",
    [
        {"interval": 30},
        {"interval": "30s"},
        {"interval": "1.5 h"},
        {"interval": "${INTERVAL:-30s}"},
        {"retries": "${RETRIES}"},
        {"with_list": "${WITH_LIST:-true}"},
        {"framing": "${FRAMING:?hdlc or wrapper}"},
        {"server_address_size": None},
        {"server_address_size": "${SIZE}"},
        {"overrides": {"voltage": None, "current": "1-0:31.7.0", "power": {"obis": "1.0.1.7.0.255", "class": 3, "scale": 40}}},
        {"overrides": {"power": {"obis": "1-0:1.7.0*255", "scale": "${RATIO:-40}"}}},
        {"password": "file:/run/secrets/meter", "authentication": "low"},
    ],
)
def test_what_may_be_written_passes(meter, errors):
    assert errors(pipeline(meter=meter)) == []


@pytest.mark.parametrize(
    "meter",
    [
        {"interval": 0},
        {"interval": "soon"},
        {"retries": "3 times"},
        {"with_list": "maybe"},
        {"framing": "HDLC"},
        {"server_address_size": 3},
        {"id": "a.b"},
        {"overrides": {"current": "31.7.0"}},
        {"overrides": {"current": {"obis": "31.7.0"}}},
        {"overrides": {"current": {"class": 3}}},
        {"tariff": 1},
    ],
)
def test_what_may_not_be_written_is_marked(meter, errors):
    assert errors(pipeline(meter=meter))


def test_the_settings_of_a_node_depend_on_its_type(errors):
    window = {"id": "h", "type": "health", "inputs": ["meters"], "settings": {"window": "10s"}}
    assert errors(pipeline(nodes=[window])) == []
    assert errors(pipeline(nodes=[{**window, "type": "debug"}]))
    assert errors(pipeline(nodes=[{**window, "settings": {"window": "${WINDOW}"}}])) == []


def test_every_setting_that_a_person_writes_is_described(schema):
    sections = [schema, *(schema["$defs"][name] for name in ("MeterSettings", "ThingsBoardSettings", "NodeEntry", "LogSettings"))]
    properties = {key: described for section in sections for key, described in section["properties"].items()}
    defined = {f"#/$defs/{name}": definition for name, definition in schema["$defs"].items()}
    bare = [key for key, described in properties.items() if "description" not in {**defined.get(described.get("$ref"), {}), **described}]
    assert bare == []


def test_the_command_writes_the_schema_to_the_file_named(schema, tmp_path):
    main([str(tmp_path / "schema.json")])
    assert json.loads((tmp_path / "schema.json").read_text(encoding="utf-8")) == schema
