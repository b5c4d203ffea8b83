"""docs/troubleshooting.md quotes the log; these are really the lines that the program logs."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.thingsboard import ending
from connectors.thingsboard.ending import Ending
from connectors.thingsboard.ownership import Ownership
from connectors.thingsboard.trouble import Incident, Trouble
from model.errors import OwnershipError

TEXT = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^    (thingsboard session: .+)\n    cause=(\S+)$", TEXT, re.MULTILINE)
ENDINGS = {value.name: value for value in vars(ending).values() if isinstance(value, Ending)}
RARE = {"protocol-unsupported", "client-id-refused", "not-allowed", "server-moved"}
"""Contested causes that the remedy in the log explains well enough."""


def logged(cause: Ending) -> list[dict[str, object]]:
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    trouble = Trouble(lambda _alert: None, 60.0, lambda: now, iter([0.0, 1_000.0]).__next__)
    with capture_logs() as lines:
        trouble.happened(cause, Incident("server tb:1883"))
        trouble.delivered()
    return lines


@pytest.mark.parametrize(("line", "cause"), QUOTED, ids=[cause for _, cause in QUOTED])
def test_the_line_is_what_the_program_logs(line: str, cause: str) -> None:
    first, last = logged(ENDINGS[cause])
    assert (first["event"], first["cause"]) == (line, cause)
    assert f"\n    {last['event']}\n" in TEXT


def test_every_cause_that_needs_a_person_is_explained() -> None:
    quoted = {cause for _, cause in QUOTED}
    assert {value.name for value in ENDINGS.values() if value.contested} - RARE <= quoted


def test_the_refusal_to_start_is_quoted_as_it_is(tmp_path: Path) -> None:
    (quote,) = re.findall(r"^    (the ThingsBoard session at .+): pid 4711$", TEXT, re.MULTILINE)
    for name in ("a", "b", "shared"):
        (tmp_path / name).mkdir()
    with Ownership("tb.example:1883", ["t"], tmp_path / "a", [tmp_path / "shared"]), pytest.raises(OwnershipError) as caught:
        Ownership("tb.example:1883", ["t"], tmp_path / "b", [tmp_path / "shared"])
    assert caught.value.what.startswith(f"{quote}: pid ")
