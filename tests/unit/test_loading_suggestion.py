from __future__ import annotations

import pytest

from model.loading.suggestion import nearest, suggest


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("pasword", ["password", "passport"], "password"),
        ("KWH", ["Wh", "kWh"], "kWh"),
        ("Templates", ["templates"], "templates"),
        ("xyz", ["password"], None),
        ("x", [], None),
    ],
)
def test_nearest(word, known, expected):
    assert nearest(word, known) == expected


def test_suggest_names_the_nearest_else_lists_what_there_is():
    assert suggest("framin", ["framing", "retries"], "keys") == "did you mean framing?"
    assert suggest("zzz", ["b", "a"], "keys") == "known keys: a, b"
    assert suggest("zzz", [], "templates") == "there are no templates here"
    assert suggest("zzz", [f"a{n:02}" for n in range(50)], "keys").endswith("a11, ...")
