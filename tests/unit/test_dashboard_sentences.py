"""The catalogue of the flow's sentences in Spanish: that it has all of them, that its holes agree, and that the page's own code finds them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from connectors.thingsboard import ending
from connectors.thingsboard.ending import Ending
from dashboard.configuration import node_types_known
from model.messages import ErrorKind, Violation
from tests.sentences import HOLE, NOT_SHOWN, ROOT, said

STATIC = ROOT / "dashboard" / "static"
FOLDER = STATIC / "i18n" / "es"
NODE = shutil.which("node")
WITHOUT = "node is missing, which runs the page's code here: apt-get install nodejs"
A_HOLE = re.compile(r"\{([#*]?)(\w+)\}")
NOTES = re.compile(r"[;:,.()\s]*")
"""What may stand around a part of a sentence."""


def pairs(file: Path) -> list[tuple[str, str]]:
    """The entries of one file, also those that JSON would drop because their key comes twice."""
    return list(json.loads(file.read_text(), object_pairs_hook=list))


TOPICS = {file.stem: pairs(file) for file in sorted(FOLDER.glob("*.json"))}
ENTRIES = dict(chain.from_iterable(TOPICS.values()))


def translated(texts: list[str]) -> list[list[tuple[str, bool | None]]]:
    """The parts of each text as the page shows them: words, and whether they were translated (None: data)."""
    if NODE is None:
        pytest.skip(WITHOUT)
    asked = {"source": (STATIC / "js" / "catalogue.js").read_text(), "entries": ENTRIES, "texts": texts}
    done = subprocess.run(
        [NODE, str(ROOT / "tests" / "translate.mjs")], input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=60
    )
    return [[(part["text"], part["translated"]) for part in parts] for parts in json.loads(done.stdout)]


def words(parts: list[tuple[str, bool | None]]) -> str:
    return "".join(text if done is not False else f"[{text}]" for text, done in parts)


def example(form: str) -> str:
    """A sentence of the source with something in its holes; what a last hole only appends is left out."""
    appended = re.sub(r"(?<=[\w)}])\{\}$", "", form)
    bare = appended.strip(" ;:,").removeprefix("(").strip() if appended.count("(") != appended.count(")") else appended.strip(" ;:,")
    return bare.replace(HOLE, "7")


def test_every_topic_is_loaded_by_the_page() -> None:
    (named,) = re.findall(r"const TOPICS = \[([^\]]*)\]", (STATIC / "js" / "i18n.js").read_text())
    assert re.findall(r'"(\w+)"', named) == list(TOPICS)


def test_no_sentence_is_there_twice() -> None:
    counted = Counter(english for entries in TOPICS.values() for english, _ in entries)
    assert [english for english, count in counted.items() if count > 1] == []


def test_both_sides_have_the_same_holes() -> None:
    for english, spanish in ENTRIES.items():
        assert sorted(A_HOLE.findall(english)) == sorted(A_HOLE.findall(spanish)), english
        assert len(set(A_HOLE.findall(english))) == len(A_HOLE.findall(english)), f"a name comes twice: {english}"
        assert re.search(r"\}\{", english) is None, f"two holes without anything between them: {english}"
        assert spanish.strip() == spanish != "", english


def test_every_template_finds_itself_and_none_takes_what_is_anothers() -> None:
    given = {english: A_HOLE.sub(lambda hole: "42" if hole[1] == "#" else f"<{hole[2]}>", english) for english in ENTRIES}
    for (english, _), parts in zip(given.items(), translated(list(given.values())), strict=True):
        wanted = A_HOLE.sub(lambda hole: "42" if hole[1] == "#" else f"<{hole[2]}>", ENTRIES[english])
        assert words(parts) == wanted, english


def test_every_sentence_of_the_source_is_in_the_catalogue() -> None:
    found = said()
    assert len(found) > 500
    parts = translated([example(each.form) for each in found])
    missing = [str(each) for each, done in zip(found, parts, strict=True) if any(part is False for _, part in done) or not any(p for _, p in done)]
    assert missing == [], (
        "these reach the page of a Spanish reader in English. Add each to a file of dashboard/static/i18n/es/, as"
        ' "English with {holes}": "Spanish with the same {holes}" ({#n} for a number, {*why} for what is a sentence itself);'
        " what is never shown belongs to NOT_SHOWN in tests/sentences.py, with the reason:\n" + "\n".join(missing)
    )


def test_nothing_is_excused_that_is_not_there() -> None:
    everything = {each.file for each in said()}
    assert [name for name in NOT_SHOWN if not (ROOT / name.partition(":")[0]).is_file()] == []
    assert everything
