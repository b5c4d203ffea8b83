"""The benchmark of a large archive, on a small one: what it measures is real, so that it does not rot unseen."""

from __future__ import annotations

from pathlib import Path

from bench.dashboard import write_archive, write_pipeline
from bench.history import READS, SLICES, WRITES, clearing, reads, timed, writing
from connectors.archive.schema import FILE_NAME


def test_an_archive_is_read_written_and_cleared(tmp_path: Path) -> None:
    archive = tmp_path / "state" / FILE_NAME
    write_archive(tmp_path / "state", 100, 20_000)
    write_pipeline(tmp_path, 100)
    rows = [timed(name, read, archive) for name, read in reads(tmp_path, archive)]
    assert len(rows) > 5
    assert all(len(row) == len(READS) for row in rows)
    written = writing(archive, tmp_path, 100, 1)
    assert [row[0].split(",")[0] for row in written] == ["empty", "full"] * 2
    assert all(len(row) == len(WRITES) for row in written)
    cleared = clearing(archive, 100, 30)
    assert all(len(row) == len(SLICES) for row in cleared)
    assert float(cleared[0][1].replace(",", "")) > 0
