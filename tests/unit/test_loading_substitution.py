from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.loading.document import Document, Place
from model.loading.substitution import SubstitutionError, expand, substitute

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
VALUES = st.text(min_size=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "1"),
        ("x${A}y${B}z", "x1ytwoz"),
        ("${NONE:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${NONE:-}", ""),
        ("${A:-default}", "1"),
        ("${NONE:-${B}-${NONE:-deep}}", "two-deep"),
        ("${A:?message}", "1"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("^a$", "^a$"),
        ("$A", "$A"),
        ("100$", "100$"),
        ("$$$${A}", "$${A}"),
        ("${NONE:-a:-b}", "a:-b"),
    ],
)
def test_expand(text, expected):
    assert expand(text, {"A": "1", "B": "two", "EMPTY": ""}) == expected


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("${NONE}", "the environment variable NONE is not set", "export NONE="),
        ("${EMPTY}", "the environment variable EMPTY is empty", "export EMPTY="),
        ("${NONE:?ask the operator}", "the environment variable NONE is not set", "ask the operator"),
        ("${NONE:?}", "the environment variable NONE is not set", "export NONE="),
        ("${", "a ${ without its closing }", "${VAR}"),
        ("${A:-${B}", "a ${ without its closing }", "${VAR}"),
        ("${1A}", "${1A} cannot be understood", "${VAR:-default}"),
        ("${A-b}", "${A-b} cannot be understood", "${VAR:-default}"),
        ("${}", "${} cannot be understood", "${VAR:-default}"),
    ],
)
def test_what_cannot_be_expanded(text, what, remedy):
    with pytest.raises(SubstitutionError) as caught:
        expand(text, {"EMPTY": ""})
    assert caught.value.what == what
    assert remedy in caught.value.remedy


@given(st.text(alphabet=string.printable.replace("$", "")))
def test_text_without_a_dollar_stays(text):
    assert expand(text, {}) == text


@given(st.text())
def test_doubling_every_dollar_gives_the_text_back(text):
    assert expand(text.replace("$", "$$"), {}) == text


@given(NAMES, VALUES, st.text(alphabet=string.ascii_letters), st.text(alphabet=string.ascii_letters))
def test_a_value_is_taken_as_it_is_and_never_expanded_again(name, value, before, after):
    assert expand(f"{before}${{{name}}}{after}", {name: value}) == before + value + after


@given(st.text(alphabet="${}:-?AB$"), st.dictionaries(st.sampled_from("AB"), st.text(max_size=3)))
def test_expand_gives_text_or_says_why_not(text, environment):
    try:
        assert isinstance(expand(text, environment), str)
    except SubstitutionError as error:
        assert error.what
        assert error.remedy


def document(data) -> Document:
    return Document("f.yaml", data, values={("b", 0): Place("f.yaml", 7)})


def test_a_value_that_is_one_expression_is_typed_as_if_it_were_written():
    given_data = {"port": "${PORT:-5}", "flag": "${FLAG}", "text": "x${PORT:-5}", "two": "${FLAG}${FLAG}", "list": ["${FLAG}"]}
    made = document(given_data)
    problems, missing = substitute(made, (), {"FLAG": "true"})
    assert (problems, missing) == ([], frozenset())
    assert made.data == {"port": 5, "flag": True, "text": "x5", "two": "truetrue", "list": [True]}
    assert made.as_written == {("port",): "5", ("flag",): "true", ("list", 0): "true"}


def test_every_missing_variable_is_reported_at_its_line():
    made = document({"a": "${A}", "b": ["${B}"], "c": 1})
    problems, missing = substitute(made, (), {})
    assert [(problem.line, problem.what) for problem in problems] == [
        (1, "the environment variable A is not set"),
        (7, "the environment variable B is not set"),
    ]
    assert missing == {("a",), ("b", 0)}


def test_only_the_part_asked_for_is_touched():
    made = document({"a": "${X}", "b": ["${X}", "${X}"]})
    substitute(made, ("b", 1), {"X": "x"})
    assert made.data == {"a": "${X}", "b": ["${X}", "x"]}
