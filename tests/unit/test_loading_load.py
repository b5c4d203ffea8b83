from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import ConfigurationError, PipelineError
from model.loading.load import load
from model.loading.wires import Wire
from tests.unit.fake_node_types import NODE_TYPES, PIPELINE, CheckSettings


def write(tmp_path: Path, text: str, **files: str) -> Path:
    for name, content in files.items():
        (tmp_path / name.replace("_dot_", ".")).write_text(content, encoding="utf-8")
    path = tmp_path / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path, environment=None) -> list[tuple[int | None, str]]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, NODE_TYPES, environment or {})
    assert all(problem.remedy for problem in caught.value.problems)
    return [(problem.line, problem.what) for problem in caught.value.problems]


def test_nodes_come_in_topological_order_with_their_settings(tmp_path):
    text = PIPELINE.replace("type: check,", 'type: check, settings: {limit: "${LIMIT}", every: 2m},')
    loaded = load(write(tmp_path, text), NODE_TYPES, {"LIMIT": "7"})
    assert [(node.id, node.line) for node in loaded.nodes] == [("first", 7), ("second", 8), ("judge", 6), ("sink", 5)]
    judge = loaded.nodes[2]
    assert judge.type is NODE_TYPES["check"]
    assert judge.settings == CheckSettings(limit=7, every=120.0)
    assert judge.inputs == (Wire("first", ""), Wire("second", ""))
    assert loaded.warnings == ()


def test_text_is_taken_as_it_was_written(tmp_path):
    text = PIPELINE.replace("id: desk", "id: 00012, tags: {built: 2024, spare: no, limit: 1.50, flag: true}").replace(
        "secret-token", "${TOKEN}, protocol: 5"
    )
    loaded = load(write(tmp_path, text.replace("token: ${TOKEN}", 'token: "${TOKEN}"')), NODE_TYPES, {"TOKEN": "0123"})
    assert loaded.settings.meters[0].id == "00012"
    assert loaded.settings.meters[0].tags == {"built": "2024", "spare": "no", "limit": "1.50", "flag": "true"}
    assert loaded.settings.thingsboard.token.get_secret_value() == "0123"
    assert loaded.settings.thingsboard.protocol == "5"


def test_paths_are_relative_to_the_file_that_names_them(tmp_path):
    text = PIPELINE.replace("type: check,", "type: check, settings: {file: rules.txt},") + "state_dir: data\n"
    loaded = load(write(tmp_path, text), NODE_TYPES, {})
    assert loaded.settings.state_dir == tmp_path / "data"
    assert loaded.nodes[2].settings.file == tmp_path / "rules.txt"
    assert load(write(tmp_path, PIPELINE), NODE_TYPES, {}).settings.state_dir == tmp_path / "state"
    absolute = load(write(tmp_path, PIPELINE + "state_dir: /var/lib/meters\n"), NODE_TYPES, {})
    assert absolute.settings.state_dir == Path("/var/lib/meters")


def test_secrets_come_from_files_and_are_collected(tmp_path):
    text = PIPELINE.replace("secret-token", "'file:token', username: 'file:token'").replace(
        "type: check,", "type: check, settings: {key: 'file:key'},"
    )
    loaded = load(write(tmp_path, text, token="from-file\n", key="file:token"), NODE_TYPES, {})
    assert loaded.settings.thingsboard.token.get_secret_value() == "from-file"
    assert loaded.settings.thingsboard.username == "file:token"
    assert loaded.secrets == {"from-file", "file:token"}
    assert "from-file" not in repr(loaded)


def test_meters_come_from_the_file_and_from_the_table(tmp_path):
    text = PIPELINE + "meters_file: ${FILE}\n"
    table = "id,connect,template,authentication,password\nroof,tcp://192.0.2.11:1,basic,low,${PASSWORD}\n0042,tcp://192.0.2.12:1,basic,,\n"
    loaded = load(write(tmp_path, text, table_dot_csv=table), NODE_TYPES, {"FILE": "table.csv", "PASSWORD": "00000001"})
    assert [meter.id for meter in loaded.settings.meters] == ["desk", "roof", "0042"]
    assert loaded.secrets == {"secret-token", "00000001"}
    assert loaded.settings.meters_file == tmp_path / "table.csv"


def test_problems_between_the_file_and_the_table_name_both(tmp_path):
    table = "id,connect,template\ndesk,tcp://192.0.2.11:1,basic\n"
    path = write(tmp_path, PIPELINE + "meters_file: table.csv\n", table_dot_csv=table)
    with pytest.raises(ConfigurationError) as caught:
        load(path, NODE_TYPES, {})
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "table.csv"), 2)
    assert problem.what == f"the meter id 'desk' is given twice, first in {path}:3"


def test_a_missing_value_is_reported_once_and_hides_nothing_else(tmp_path):
    text = (
        PIPELINE.replace("mqtt://localhost", "${URL}").replace("template: basic", "template: other").replace("[first, second]", "[frist]")
    )
    assert problems_of(write(tmp_path, text)) == [
        (1, "the environment variable URL is not set"),
        (3, "meter desk: unknown template 'other'"),
        (6, "node judge: the input frist names no node"),
    ]


def test_keys_without_a_value_mean_nothing(tmp_path):
    text = PIPELINE.replace("template: basic}", "template: basic, tags: , overrides: }").replace(
        "type: in}", "type: in, settings: , inputs: }"
    )
    assert load(write(tmp_path, text), NODE_TYPES, {}).settings.meters[0].tags == {}
    assert problems_of(write(tmp_path, PIPELINE.replace("secret-token", ""))) == [(1, "thingsboard: token is missing")]


def test_no_secret_is_ever_shown(tmp_path):
    text = PIPELINE.replace("secret-token", "{hunter2: hunter2}").replace(
        "type: check,", "type: check, settings: {key: [hunter2], limit: 0},"
    )
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, text.replace("mqtt://", "http://user:hunter2@")), NODE_TYPES, {})
    assert len(caught.value.problems) == 4
    assert "hunter2" not in str(caught.value)


def test_a_rejection_that_nobody_sees_is_a_warning(tmp_path):
    loaded = load(write(tmp_path, PIPELINE.replace(", judge.rejected", "")), NODE_TYPES, {})
    assert [(warning.line, warning.what) for warning in loaded.warnings] == [(6, "node judge: nobody sees what it rejects")]


def test_a_wire_of_the_wrong_type_names_what_to_put_between(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, PIPELINE.replace("id: first, type: in", "id: first, type: cycles")), NODE_TYPES, {})
    (problem,) = caught.value.problems
    assert problem.what == "node judge: check takes Reading, but first emits Cycle"
    assert problem.remedy == "put a to-readings node between"


def test_two_separate_cycles_are_both_found(tmp_path):
    text = PIPELINE + (
        "  - {id: a, type: check, inputs: [b]}\n  - {id: b, type: check, inputs: [a]}\n"
        "  - {id: c, type: check, inputs: [c]}\n  - {id: d, type: check, inputs: [c]}\n"
    )
    assert problems_of(write(tmp_path, text)) == [
        (9, "the nodes form a cycle: a -> b -> a"),
        (11, "the nodes form a cycle: c -> c"),
    ]


def test_a_node_type_that_cannot_be_used_is_a_problem_of_its_node(tmp_path):
    class Broken(dict):
        def __getitem__(self, name):
            if name == "check":
                raise PipelineError("it is broken", "mend it")
            return super().__getitem__(name)

    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, PIPELINE), Broken(NODE_TYPES), {})
    assert [(p.line, p.what, p.remedy) for p in caught.value.problems] == [(6, "node judge: it is broken", "mend it")]


def test_meters_that_cannot_be_used_here_are_problems_also_when_others_are_wrong(tmp_path):
    def refuse(meter):
        raise ValueError(f"{meter.connect} is out of reach; move closer")

    path = write(tmp_path, PIPELINE.replace("secret-token", ""))
    with pytest.raises(ConfigurationError) as caught:
        load(path, NODE_TYPES, {}, refuse)
    assert [(p.line, p.what, p.remedy) for p in caught.value.problems][1:] == [
        (3, "meter desk: tcp://192.0.2.10:4059 is out of reach", "move closer")
    ]


@pytest.mark.parametrize("section", ["thingsboard", "templates", "meters", "nodes", "meters_file", "log", "state_dir"])
@pytest.mark.parametrize("value", ["5", "text", "[1, [2]]", "{a: {b: [c]}}", "[{}, null, {id: x}]", "{id: [1]}"])
def test_any_shape_in_any_place_is_a_problem_and_no_crash(tmp_path, section, value):
    lines = [line for line in PIPELINE.splitlines(keepends=True) if section == "nodes" or not line.startswith(f"{section}:")]
    text = "".join(lines[:3] if section == "nodes" else lines) + f"{section}: {value}\n"
    try:
        load(write(tmp_path, text), NODE_TYPES, {})
    except ConfigurationError as error:
        assert error.problems


def test_ten_thousand_meters_load(tmp_path):
    table = "id,connect,template\n" + "".join(f"m{n},tcp://192.0.2.1:{n % 60000 + 1},basic\n" for n in range(10_000))
    loaded = load(write(tmp_path, PIPELINE + "meters_file: t.csv\n", t_dot_csv=table), NODE_TYPES, {})
    assert len(loaded.settings.meters) == 10_001
