from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.loading.document import Place, read_yaml, typed


def read(tmp_path: Path, text: str):
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


def lines(document) -> dict[tuple, int]:
    return {location: place.line for location, place in document.keys.items()}


def test_knows_the_line_of_every_key_and_item(tmp_path):
    document, problems = read(
        tmp_path,
        """\
# comment
a:
  b: 1

  c:
    - x
    - y: 2
      z: [p,
          q]
""",
    )
    assert problems == []
    assert document.data == {"a": {"b": 1, "c": ["x", {"y": 2, "z": ["p", "q"]}]}}
    assert lines(document) == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 5,
        ("a", "c", 0): 6,
        ("a", "c", 1): 7,
        ("a", "c", 1, "y"): 7,
        ("a", "c", 1, "z"): 8,
        ("a", "c", 1, "z", 0): 8,
        ("a", "c", 1, "z", 1): 9,
    }


def test_the_place_of_something_not_written_is_that_of_what_surrounds_it(tmp_path):
    document, _ = read(tmp_path, "a:\n  b: 1\n")
    assert document.place(("a", "missing", "deeper")) == Place(document.file, 1)
    assert document.place(("a", "b", 7)) == Place(document.file, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("1-0:1.8.0", "1-0:1.8.0"),
        ("1.0.32.7.0.255", "1.0.32.7.0.255"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_have_the_types_of_the_core_schema(text, value):
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_quoted_scalars_are_text_and_the_others_remember_what_was_written(tmp_path):
    document, _ = read(tmp_path, "a: 00012\nb: '00012'\nc: |\n  12\nd: 1.50\n")
    assert document.data == {"a": 12, "b": "00012", "c": "12\n", "d": 1.5}
    assert document.as_written == {("a",): "00012", ("d",): "1.50"}


def test_keys_are_text_as_written(tmp_path):
    document, _ = read(tmp_path, "1: a\ntrue: b\n07: c\n")
    assert document.data == {"1": "a", "true": "b", "07": "c"}


def test_duplicate_keys_are_problems_at_the_second_one(tmp_path):
    document, problems = read(tmp_path, "a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert [(p.line, p.what) for p in problems] == [(4, "the key 'b' is given twice, first in line 2")]
    assert document.data == {"a": {"b": 1, "c": 2}}


def test_merge_keys_and_aliases(tmp_path):
    document, problems = read(
        tmp_path,
        """\
base: &base {x: 1, y: 2}
more: &more
  <<: *base
  z: 3
one:
  <<: *more
  y: 20
two:
  <<: [{y: 5}, *base]
list: [*base]
""",
    )
    assert problems == []
    assert document.data["one"] == {"x": 1, "y": 20, "z": 3}
    assert document.data["two"] == {"x": 1, "y": 5}
    assert document.data["list"] == [{"x": 1, "y": 2}]
    assert document.place(("one", "x")).line == 1
    assert document.place(("one", "y")).line == 7


def test_a_quoted_merge_key_is_a_key(tmp_path):
    document, _ = read(tmp_path, "'<<': 1\n")
    assert document.data == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
        ("a:\n\tb: 1\n", 2, "does not allow"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: 'open\nb: 1\n", 1, "never closed"),
        ("a: !!python/object:os.system x\n", 1, "is not known"),
        ("a: !env X\n", 1, "!env is not known"),
        ("&a [*a]\n", 1, "contains itself"),
        ("a: {<<: 5}\n", 1, "<< takes a mapping"),
        ("? [a, b]\n: 1\n", 1, "a key must be"),
        ("", 1, "the file is empty"),
        ("[" * 60 + "]" * 60, 1, "too much nesting"),
    ],
)
def test_what_is_not_yaml_is_a_problem_with_a_line(tmp_path, text, line, words):
    _, problems = read(tmp_path, text)
    assert len(problems) >= 1
    assert problems[0].line == line
    assert words in problems[0].what
    assert problems[0].remedy


def test_a_file_that_multiplies_itself_is_refused_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("model.loading.document._MOST_NODES", 1000)
    text = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 12))
    _, problems = read(tmp_path, text)
    assert any("too much nesting" in problem.what for problem in problems)


def test_files_that_cannot_be_read(tmp_path):
    _, problems = read_yaml(tmp_path / "none.yaml")
    assert problems[0].what == "the file does not exist"
    _, problems = read_yaml(tmp_path)
    assert "cannot be read" in problems[0].what
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: ü\n".encode("latin-1"))
    _, problems = read_yaml(tmp_path / "latin.yaml")
    assert (problems[0].line, problems[0].what) == (2, "the file is not UTF-8 text")


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(tmp_path / "bom.yaml")[0].data == {"a": 1}


@given(st.text())
def test_typed_never_fails(text):
    typed(text)
