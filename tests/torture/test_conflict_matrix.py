"""The conflict matrix: every cause on both versions of MQTT is named right, in time, and costs no reading.

All are played at once, each with a server of its own. `--write-tables` writes docs/conflict-matrix.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.mosquitto import PROGRAM
from tests.torture.conflicts import CONFLICTS, MOSQUITTO, PROTOCOLS, Conflict, Row, play

TABLE = Path(__file__).parents[2] / "docs" / "conflict-matrix.md"
IN_TIME = 10.0
"""Seconds from the second takeover to the alert that are promised."""

SLOW_MACHINE = 5.0
"""Seconds that a busy machine may add."""

HEAD = """# Conflict matrix

What ends or spoils a session with ThingsBoard, and what the pipeline makes of it. Written by
`pytest tests/torture/test_conflict_matrix.py --write-tables`: each cause is played against a running session with the waits of
production (the acknowledgement timeout is 3 s), while a reading comes every 0.25 s. Seconds run from the beginning of the trouble
to the alert, of a takeover from the second one. Lost counts readings that the server had not got after the trouble was over.

| cause | server | MQTT | named | seconds to the alert | readings lost | remedy |
|---|---|---|---|---|---|---|
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
Rows = dict[tuple[str, str, str], "Future[Row]"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    with ThreadPoolExecutor(len(CONFLICTS) * len(PROTOCOLS)) as pool:
        yield {
            (conflict.cause, conflict.server, protocol): pool.submit(played, conflict, protocol, tmp_path_factory.mktemp("conflict"))
            for conflict in CONFLICTS
            for protocol in PROTOCOLS
        }


def played(conflict: Conflict, protocol: str, folder: Path) -> Row:
    """Skips, in whoever asks for the row, where the broker is not installed."""
    if conflict.server == MOSQUITTO and not Path(PROGRAM).exists():
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    return play(conflict, protocol, folder)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("conflict", CONFLICTS, ids=lambda conflict: f"{conflict.cause}-{conflict.server}".replace(" ", "-"))
def test_it_is_named_right_and_costs_no_reading(rows: Rows, conflict: Conflict, protocol: str) -> None:
    row = rows[conflict.cause, conflict.server, protocol].result()
    assert row.named in conflict.names
    assert row.lost == 0
    if row.named == "taken-over":
        assert row.seconds <= IN_TIME + SLOW_MACHINE


def test_the_table_in_the_documentation_is_this_one(rows: Rows, write_tables: bool) -> None:
    done = [future.result() for future in rows.values()]
    if write_tables:
        TABLE.write_text(HEAD + "".join(map(line, done)), encoding="utf-8")
    written = TABLE.read_text(encoding="utf-8")
    assert written.startswith(HEAD)
    texts = [without_seconds(text) for text in written.removeprefix(HEAD).splitlines()]
    played_servers = {row.server for row in done}
    assert [text for text in texts if text[1] in played_servers] == [without_seconds(line(row)) for row in done]


def line(row: Row) -> str:
    return f"| {row.cause} | {row.server} | {row.protocol} | {row.named} | {row.seconds:.1f} | {row.lost} | {row.remedy} |\n"


def without_seconds(text: str) -> list[str]:
    cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
    return cells[:4] + cells[5:]
