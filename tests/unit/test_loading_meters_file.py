from __future__ import annotations

from pathlib import Path

import pytest

from model.loading.meters_file import read_meters_file


def read(tmp_path: Path, text: str, name: str = "meters.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_meters_file(path)


def test_a_row_says_the_same_as_an_entry_in_yaml(tmp_path):
    document, problems = read(
        tmp_path,
        """\
# north substation
id, connect, server_physical, interval, with_list, template, device_name, tag:feeder, tag:serial
00012,tcp://a:1,1042,30s,false,basic,"Pump, north",F1,00099

b,tcp://b:1,,15,,basic
""",
    )
    assert problems == []
    assert document.data == [
        {
            "id": 12,
            "connect": "tcp://a:1",
            "server_physical": 1042,
            "interval": "30s",
            "with_list": False,
            "template": "basic",
            "device_name": "Pump, north",
            "tags": {"feeder": "F1", "serial": "00099"},
        },
        {"id": "b", "connect": "tcp://b:1", "interval": 15, "template": "basic"},
    ]
    assert document.as_written[(0, "id")] == "00012"
    assert [document.place((index,)).line for index in (0, 1)] == [3, 5]


@pytest.mark.parametrize(
    ("text", "line", "what", "remedy"),
    [
        ("id,conect\na,b\n", 1, "unknown column 'conect'", "did you mean connect?"),
        ("id;connect\na;b\n", 1, "unknown column 'id;connect'", "separate the columns with commas"),
        ("id,id\na,b\n", 1, "the column 'id' is given twice", "remove one of them"),
        ("id,tags\na,b\n", 1, "'tags' cannot be a column of a CSV file", "write one column tag:NAME per tag"),
        ("id,connect\na,b,c\n", 2, "the row has 3 cells, but the header has 2 columns", "put a cell that holds a comma in quotes"),
        ('id,connect\n"a"x,b\n', 2, "not valid CSV", "quotes"),
        ("", 1, "the file is empty", "begin with a header"),
    ],
)
def test_mistakes_in_a_table(tmp_path, text, line, what, remedy):
    _, problems = read(tmp_path, text)
    assert len(problems) == 1
    assert problems[0].line == line
    assert what in problems[0].what
    assert remedy in problems[0].remedy


def test_a_mistake_in_the_header_is_not_repeated_for_every_row(tmp_path):
    document, problems = read(tmp_path, "id,conect\n" + "a,b\n" * 100)
    assert len(problems) == 1
    assert document.data == []


def test_a_yaml_list(tmp_path):
    document, problems = read(tmp_path, "- {id: a}\n- id: b\n", "meters.yaml")
    assert problems == []
    assert document.data == [{"id": "a"}, {"id": "b"}]


@pytest.mark.parametrize("text", ["meters:\n  - {id: a}\n", "id: a\n", "text\n"])
def test_yaml_that_is_no_list(tmp_path, text):
    document, problems = read(tmp_path, text, "meters.yaml")
    assert [problem.what for problem in problems] == ["the file must be a list of meters"]
    assert document.data == []


def test_a_missing_file(tmp_path):
    _, problems = read_meters_file(tmp_path / "none.csv")
    assert problems[0].line is None
