"""What is said in Spanish is what is said in English: same headings, tables and code; and no link leads nowhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPANISH = sorted((ROOT / "docs" / "es").glob("*.md"))
LINKED = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shape(text: str) -> tuple[Counter[int], int, list[str]]:
    """Headings per level, rows of tables, and the code blocks without their comments, which may be in either language."""
    headings = Counter(len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE))
    code = [re.sub(r"\s+#.*$", "", line) for line in re.findall(r"^ {4,}\S.*$", text, re.MULTILINE)]
    return headings, len(re.findall(r"^\|", text, re.MULTILINE)), code


def test_the_operators_documents_are_there_in_spanish() -> None:
    assert {file.name for file in SPANISH} == {
        "quick-commands.md",
        "production-guide.md",
        "troubleshooting.md",
        "recovery.md",
        "cluster.md",
    }


@pytest.mark.parametrize("spanish", SPANISH, ids=lambda file: file.name)
def test_a_translation_has_the_shape_of_its_original(spanish: Path) -> None:
    english = ROOT / "docs" / spanish.name
    assert shape(spanish.read_text(encoding="utf-8")) == shape(english.read_text(encoding="utf-8"))
    assert f"(es/{spanish.name})" in english.read_text(encoding="utf-8")
    assert f"(../{spanish.name})" in spanish.read_text(encoding="utf-8")


@pytest.mark.parametrize("document", LINKED, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target
