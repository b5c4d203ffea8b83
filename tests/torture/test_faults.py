"""Each fault of a list is injected alone, and `health` or `diagnose` names it, first, with its evidence and the right remedy.

`--write-tables` plays all of them (or those chosen with -k) and writes their rows of docs/faults.md. Without it, and without
`--long`, those that need a pipeline of their own for long are left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.torture.faults import Fault, Ground, Row, row_of
from tests.torture.faults_at_meters import METER_FAULTS
from tests.torture.faults_at_pipeline import PIPELINE_FAULTS
from tests.torture.faults_at_server import SERVER_FAULTS

TABLE = Path(__file__).parents[2] / "docs" / "faults.md"
FAULTS: list[Fault] = [*METER_FAULTS, *SERVER_FAULTS, *PIPELINE_FAULTS]
HEAD = """# Faults, and what names them

Each fault is injected alone into an installation of virtual meters and a real server (mosquitto, or the ThingsBoard stand-in), and the
command must name it before anything else. Written by `pytest tests/torture/test_faults.py --write-tables`; ports, pids, times and
counts are replaced. Where two causes look alike from outside, both are named.

| fault | command | subject | what it says | remedy |
|---|---|---|---|---|
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
rows: dict[str, Row] = {}


@pytest.fixture
def ground() -> Iterator[Ground]:
    """In a folder that every user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="fault-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        yield Ground(Path(folder), stack)


@pytest.fixture
def everything(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long") or request.config.getoption("--write-tables"))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_it_is_named_first(fault: Fault, ground: Ground, everything: bool) -> None:
    if fault.long and not everything:
        pytest.skip("only with --long or --write-tables")
    with contextmanager(fault.play)(ground):
        named = ground.named(fault)
        end = time.monotonic() + fault.patience
        while not fault.found(named) and time.monotonic() < end:
            time.sleep(0.2)
            named = ground.named(fault)
    first = fault.found(named)
    assert first is not None, (named, ground.log())
    rows[fault.name] = row_of(fault, first, ground.folder)


def test_the_table_in_the_documentation_is_this_one(write_tables: bool) -> None:
    if write_tables:
        known = {line.split(" | ")[0].removeprefix("| "): f"{line}\n" for line in TABLE.read_text(encoding="utf-8").splitlines()}
        known.update({name: str(row) for name, row in rows.items()})
        TABLE.write_text(HEAD + "".join(known[fault.name] for fault in FAULTS), encoding="utf-8")
    written = TABLE.read_text(encoding="utf-8")
    assert written.startswith(HEAD)
    cells = [line.split(" | ") for line in written.removeprefix(HEAD).splitlines()]
    assert [line[0].removeprefix("| ") for line in cells] == [fault.name for fault in FAULTS]
    assert len(cells) >= 25
    for line, fault in zip(cells, FAULTS, strict=True):
        assert line[1] == fault.command
        assert all(word in line[3] for word in fault.words)
        assert all(word in line[4] for word in fault.remedy)
