from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from model.errors import ConfigurationError
from model.loading.listing import named
from model.loading.load import load
from model.messages import Cycle
from model.node import MAIN
from model.settings.node import NodeSettings
from tests.unit.fake_node_types import CYCLES, NODE_TYPES, node_type

HEAD = 'thingsboard: {url: "mqtt://localhost", token: secret-token}\ntemplates: {basic: {read: {voltage: 1-0:32.7.0}}}\n'
THREE = [f'{{id: {name}, connect: "tcp://192.0.2.{place}:4059", template: basic}}' for place, name in enumerate(("lab-1", "lab-2", "roof"))]


class ReadingSettings(NodeSettings):
    """As those of dlms-in."""

    meters: list[str] = Field(default=["*"], description="Patterns.")


class ListeningSettings(ReadingSettings):
    """As those of dlms-push-in."""

    listen: str = Field(description="Where.")


TYPES = {
    **NODE_TYPES,
    "dlms-in": node_type("dlms-in", (), {MAIN: Cycle}, CYCLES.build, ReadingSettings),
    "dlms-push-in": node_type("dlms-push-in", (), {MAIN: Cycle}, CYCLES.build, ListeningSettings),
}


def write(tmp_path: Path, meters: list[str], *sources: str) -> Path:
    listed = "".join(f"  - {meter}\n" for meter in meters)
    nodes = "".join(f"  - {{id: source{number}, {source}}}\n" for number, source in enumerate(sources))
    wires = ", ".join(f"source{number}" for number in range(len(sources)))
    path = tmp_path / "pipeline.yaml"
    sinks = f"  - {{id: m, type: to-readings, inputs: [{wires}]}}\n  - {{id: o, type: out, inputs: [m]}}\n"
    path.write_text(f"{HEAD}meters:\n{listed}nodes:\n{nodes}{sinks}", encoding="utf-8")
    return path


def warnings(tmp_path: Path, meters: list[str], *sources: str) -> list[tuple[int | None, str]]:
    loaded = load(write(tmp_path, meters, *sources), TYPES, {})
    assert all(warning.remedy for warning in loaded.warnings)
    return [(warning.line, warning.what) for warning in loaded.warnings]


def problems(path: Path) -> list[tuple[int | None, str]]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, TYPES, {})
    return [(problem.line, problem.what) for problem in caught.value.problems]


def test_meters_that_no_node_reads_are_a_warning(tmp_path):
    assert warnings(tmp_path, THREE, "type: dlms-in, settings: {meters: [lab-*]}") == [(6, "meter roof is read by no dlms-in node")]
    assert warnings(tmp_path, THREE, "type: dlms-in, settings: {meters: [roof]}") == [
        (4, "meters lab-1 and lab-2 are read by no dlms-in node")
    ]
    assert warnings(tmp_path, THREE, "type: dlms-in") == []
    assert warnings(tmp_path, THREE, "type: dlms-in, settings: {meters: [roof]}", "type: dlms-in, settings: {meters: [lab-*]}") == []


def test_a_source_of_another_kind_may_read_the_others(tmp_path):
    assert warnings(tmp_path, THREE, "type: dlms-in, settings: {meters: [roof]}", "type: cycles") == []
    assert warnings(tmp_path, THREE, "type: cycles") == []


PUSHED = [
    "{id: lab-1, connect: 'tcp://127.0.0.1:4059', template: basic}",
    "{id: caller, connect: push, push_address: 127.0.0.1, template: basic}",
]


def test_meters_that_only_call_in_are_heard_or_a_warning(tmp_path):
    listening = "type: dlms-push-in, settings: {listen: 'tcp://127.0.0.1:4059'}"
    assert warnings(tmp_path, PUSHED, "type: dlms-in", listening) == []
    assert warnings(tmp_path, PUSHED, "type: dlms-in") == [
        (5, "meter caller: nobody listens, and connect: push means that nobody calls either")
    ]


def test_a_node_that_polls_does_not_count_those_that_only_call_in(tmp_path):
    path = write(tmp_path, PUSHED, "type: dlms-in, settings: {meters: [caller]}")
    assert problems(path) == [(7, "node source0: no meter fits 'caller'")]


def test_every_pair_of_nodes_with_a_meter_in_common_is_a_problem(tmp_path):
    path = write(tmp_path, THREE, "type: dlms-in", "type: dlms-in", "type: dlms-in, settings: {meters: [roof]}")
    assert problems(path) == [
        (9, "node source1: meters lab-1, lab-2 and roof are already read by source0"),
        (10, "node source2: meter roof is already read by source0"),
        (10, "node source2: meter roof is already read by source1"),
    ]


def test_a_node_is_not_blamed_for_meters_that_could_not_be_understood(tmp_path):
    broken = '{id: roof, connect: "serial:ttyS0", template: basic}'
    (problem,) = problems(write(tmp_path, [*THREE[:2], broken], "type: dlms-in, settings: {meters: [roof]}"))
    assert "is not a link" in problem[1]


def test_meters_that_share_an_address_but_no_line_are_a_warning(tmp_path):
    shared = [
        '{id: a, connect: "tcp://Converter.example:4001", template: basic, server_physical: 17}',
        '{id: b, connect: "tcp://converter.example:4001", template: basic, server_physical: 18}',
        '{id: c, connect: "tcp://converter.example:4002", template: basic, server_physical: 17}',
        '{id: d, connect: "sim://three-phase", template: basic}',
        '{id: e, connect: "sim://three-phase", template: basic}',
    ]
    assert warnings(tmp_path, shared, "type: dlms-in") == []
    wrapped = [meter.replace("server_physical", "framing: wrapper, server_logical") for meter in shared]
    what = "meters a and b share the address tcp://Converter.example:4001 without sharing the connection"
    assert warnings(tmp_path, wrapped, "type: dlms-in") == [(5, what)]
    for line in ("separate", "shared"):
        meant = [meter.replace("template", f"line: {line}, template") for meter in wrapped]
        assert warnings(tmp_path, meant, "type: dlms-in") == []


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("server_physical: 17", "server_physical: 17", True),
        ("server_physical: 17", "server_physical: 18", False),
        ("server_logical: 1", "server_logical: 2", False),
        ("client_sap: 16", "client_sap: 17", False),
        ("framing: hdlc", "framing: wrapper", False),
        ("framing: wrapper, server_physical: 17", "framing: wrapper, server_physical: 18", True),
        ("serial_number: 00010042, server_physical: serial", "server_physical: 42", True),
        ('gateway_address: "1"', "gateway_address: hex:31", True),
        ('gateway_address: "1"', 'gateway_address: "2"', False),
        ('gateway_address: "1"', 'gateway_address: "1", gateway_network: 1', False),
    ],
)
def test_a_meter_configured_twice_is_a_problem(tmp_path, first, second, same):
    meters = [f'{{id: {name}, connect: "tcp://192.0.2.1:4059", template: basic, {more}}}' for name, more in (("a", first), ("b", second))]
    path = write(tmp_path, meters, "type: dlms-in")
    if same:
        assert problems(path) == [(5, "meter b: the same meter as a: tcp://192.0.2.1:4059 with the same addresses")]
    else:
        mixed = "wrapper" in second and "hdlc" in first
        assert [warning.line for warning in load(path, TYPES, {}).warnings] == ([5] if mixed else [])


def test_an_id_given_twice_is_no_second_problem_of_the_link(tmp_path):
    (problem,) = problems(write(tmp_path, [THREE[0], THREE[0]], "type: dlms-in"))
    assert "is given twice" in problem[1]


def test_names_are_listed_but_not_by_the_thousand():
    assert named("meter", ["a"]) == "meter a"
    assert named("meter", ["a", "b"]) == "meters a and b"
    assert named("meter", list("abcde")) == "meters a, b, c, d and e"
    assert named("meter", list("abcdefg")) == "meters a, b, c, d, e and 2 more"


def ciphered(name: str, place: int, key: str, policy: str = "authenticated-encryption", title: str = "4D4D4D0000000001") -> str:
    keys = f'block_cipher_key: "{key}", authentication_key: "{key}", client_system_title: "{title}"'
    return f'{{id: {name}, connect: "tcp://192.0.2.{place}:4059", template: basic, security_policy: {policy}, {keys}}}'


def test_encryption_alone_is_pointed_out(tmp_path):
    meters = [ciphered("a", 1, "0a" * 16), ciphered("b", 2, "0b" * 16, "encryption"), ciphered("c", 3, "0c" * 16, "encryption")]
    assert warnings(tmp_path, meters, "type: dlms-in") == [
        (5, "meters b and c: encryption alone does not tell whether a reply was changed")
    ]


def test_a_key_that_several_meters_have_is_pointed_out(tmp_path):
    meters = [ciphered("a", 1, "0a" * 16), ciphered("b", 2, "0b" * 16), ciphered("c", 3, "0A" * 16)]
    assert warnings(tmp_path, meters, "type: dlms-in") == [(6, "meters a and c have one block_cipher_key and one client_system_title")]
    meters[2] = ciphered("c", 3, "0A" * 16, title="4D4D4D0000000002")
    assert warnings(tmp_path, meters, "type: dlms-in") == []
