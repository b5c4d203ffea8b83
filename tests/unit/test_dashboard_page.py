"""The page's files: every text in both languages, enough contrast, nothing that the content security policy would have to allow."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from connectors.thingsboard import ending
from connectors.thingsboard.ending import Ending
from model.messages import ErrorKind, GapState, Severity

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "dashboard" / "static"
TEXTS: dict[str, dict[str, str]] = {language: json.loads((STATIC / "i18n" / f"{language}.json").read_text()) for language in ("en", "es")}
SCRIPTS = sorted((STATIC / "js").rglob("*.js"))
OWN = [*SCRIPTS, *sorted((STATIC / "css").glob("*.css")), STATIC / "index.html"]


def source(script: Path) -> str:
    """A script without its comments."""
    return re.sub(r"/\*.*?\*/|(?<![:\w\"'`])//[^\n]*", "", script.read_text(), flags=re.DOTALL)


def keys_in(code: str) -> Iterator[tuple[str, bool]]:
    """Keys of t(...), and whether a part is filled in when it runs (then as a pattern)."""
    for call in re.findall(r"\b(?:t|tOr)\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)", code):
        first = call.split(", {")[0]
        for text in re.findall(r'"([^"]+)"', first):
            yield text, False
        for text in re.findall(r"`([^`]+)`", first):
            yield re.sub(r"\$\{[^}]*\}", "*", text), True


def known(key: str) -> bool:
    return key in TEXTS["en"] or f"{key}.other" in TEXTS["en"]


def test_both_languages_have_the_same_texts_with_the_same_places() -> None:
    assert list(TEXTS["en"]) == list(TEXTS["es"])
    for key, text in TEXTS["en"].items():
        assert text.strip(), key
        assert TEXTS["es"][key].strip(), key
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", TEXTS["es"][key])), key
        assert not key.endswith(".one") or f"{key.removesuffix('.one')}.other" in TEXTS["en"], key


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_text_that_a_script_asks_for_is_in_the_dictionary(script: Path) -> None:
    for key, pattern in keys_in(source(script)):
        if pattern:
            assert [text for text in TEXTS["en"] if fnmatch.fnmatchcase(text, key)], key
        elif re.fullmatch(r"[a-z][\w.-]*", key) and "." in key:
            assert known(key), key


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_script_holds_a_sentence_of_its_own(script: Path) -> None:
    code = re.sub(r'(?:class|"aria-describedby"|d|font|transform): [^,}\n]*', "", source(script))
    code = re.sub(
        r'^import .*$|querySelector(?:All)?\([^)]*\)|matchMedia\([^)]*\)|"use strict"|className = [^;]*;', "", code, flags=re.MULTILINE
    )
    words = re.compile(r"[A-Za-zÀ-ÿ]{3,} [A-Za-zÀ-ÿ]{2,}")
    assert [text for text in re.findall(r'"([^"\n]*)"', code) if words.search(text)] == []


def test_every_text_of_the_markup_is_in_the_dictionary() -> None:
    markup = (STATIC / "index.html").read_text()
    for key in re.findall(r'data-(?:text|label)="([^"]+)"', markup):
        assert known(key), key


def test_every_word_that_the_flow_may_say_is_in_the_dictionary() -> None:
    endings = [value for value in vars(ending).values() if isinstance(value, Ending)]
    assert len(endings) > 20
    said = [f"ending.{each.name}" for each in endings] + [f"ending.{each.name}.remedy" for each in endings]
    said += [f"error-kind.{kind.value}" for kind in ErrorKind] + [f"gap.{state.value}" for state in GapState]
    said += [f"severity.{severity.value}" for severity in Severity] + [f"verdict.{verdict}" for verdict in ("healthy", "minor", "critical")]
    said += [f"state.{state}" for state in ("green", "yellow", "red", "unknown")]
    said += [f"session.state.{state}" for state in ("connecting", "up", "backing-off", "closed")]
    rules = "".join((ROOT / "operators" / f"alert_{part}.py").read_text() for part in ("rules", "gaps", "security"))
    alerts = re.findall(r'^[A-Z_]+ = "([a-z-]+)"$', rules, flags=re.MULTILINE)
    assert len(alerts) >= 9
    assert [key for key in [*said, *(f"alarm.{kind}" for kind in alerts)] if not known(key)] == []


def palettes() -> dict[str, dict[str, str]]:
    """Light, dark by preference and dark by choice: name -> colour."""
    blocks = re.findall(r"(:root[^{]*)\{([^}]*)\}", (STATIC / "css" / "palette.css").read_text())
    assert len(blocks) == 3
    return {selector.strip(): dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for selector, block in blocks}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


GROUNDS = ("ground", "surface", "sunken")
STATES = ("green", "yellow", "red", "unknown")
NODES = ("source", "receipts", "function", "check", "watch", "server", "store", "debug")
TEXT_PAIRS = [
    *product(("ink", "ink-2", "accent"), GROUNDS),
    *product(STATES, GROUNDS),
    *((state, f"{state}-ground") for state in STATES),
    *product(("ink", "ink-2"), [f"{state}-ground" for state in STATES]),
    ("accent", "accent-ground"),
    ("ink-2", "accent-ground"),
    ("accent-ink", "accent"),
    ("mark", "red"),
    *product(("node-ink", "node-ink-2"), [f"node-{kind}" for kind in NODES]),
]
SHAPE_PAIRS = [*product(("edge", "wire"), ("ground", "surface")), *(("mark", state) for state in ("green", "yellow", "red"))]


@pytest.mark.parametrize("selector", list(palettes()))
def test_text_and_shapes_have_enough_contrast(selector: str) -> None:
    palette = palettes()[selector]
    poor = [(a, b, round(contrast(palette[a], palette[b]), 2)) for a, b in TEXT_PAIRS if contrast(palette[a], palette[b]) < 4.5]
    poor += [(a, b, round(contrast(palette[a], palette[b]), 2)) for a, b in SHAPE_PAIRS if contrast(palette[a], palette[b]) < 3]
    assert poor == []


def test_dark_is_the_same_by_preference_and_by_choice() -> None:
    light, preferred, chosen = palettes().values()
    assert preferred == chosen
    assert set(light) == set(chosen)


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_nothing_needs_a_laxer_policy_or_another_host(file: Path) -> None:
    text = file.read_text()
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
        r"|setAttribute\(\"style\"|<style|style=|\son\w+=\"|javascript:|data:[a-z]+/"
    )
    assert re.findall(forbidden, text) == []
    assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}
    if file.suffix == ".html":
        assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []


def test_all_modules_are_fetched_at_once() -> None:
    fetched = set(re.findall(r'"/static/(js/[^"]+)"', (STATIC / "index.html").read_text()))
    assert fetched == {script.relative_to(STATIC).as_posix() for script in SCRIPTS}


def test_every_file_is_shipped_with_the_package() -> None:
    ((pattern),) = re.findall(r'^dashboard = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)  # no tomllib in 3.10
    shipped = {path for path in (ROOT / "dashboard").glob(pattern) if path.is_file()}
    assert shipped == {path for path in STATIC.rglob("*") if path.is_file()}


def test_the_library_is_shipped_with_its_licence() -> None:
    folder = STATIC / "vendor" / "uplot"
    assert "MIT" in (folder / "LICENSE").read_text()
    assert "uPlot" in (ROOT / "NOTICE").read_text()
