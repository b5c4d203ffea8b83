from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from connectors.dlms.known_meters import remember
from model.errors import StorageError


def test_meters_that_were_removed_stay_known(tmp_path: Path) -> None:
    file = tmp_path / "state" / "meters.json"
    assert remember(file, ["a", "b"]) == {"a", "b"}
    assert remember(file, ["b", "c"]) == {"a", "b", "c"}
    assert remember(file, []) == {"a", "b", "c"}


def test_all_workers_of_a_process_may_ask_at_once(tmp_path: Path) -> None:
    workers = 8
    for attempt in range(50):
        together = Barrier(workers)

        def ask(worker: int, file: Path = tmp_path / f"{attempt}.json", together: Barrier = together) -> frozenset[str]:
            together.wait()
            return remember(file, [f"m{number}" for number in range(20)])

        with ThreadPoolExecutor(workers) as pool:
            assert {len(known) for known in pool.map(ask, range(workers))} == {20}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"mark": "another", "meters": []}'])
def test_a_damaged_list_is_named_with_a_remedy(tmp_path: Path, content: str) -> None:
    file = tmp_path / "meters.json"
    file.write_text(content)
    with pytest.raises(StorageError, match=r"meters\.json cannot be used.*") as caught:
        remember(file, ["a"])
    assert "state_dir" in str(caught.value.remedy)
    assert file.read_text() == content


def test_a_full_disk_does_not_keep_meters_from_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "meters.json"
    remember(file, ["a"])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("connectors.dlms.state_file.os.fsync", full)
        assert remember(file, ["b"]) == {"a", "b"}
    assert remember(file, []) == {"a"}
    assert remember(file, ["b"]) == {"a", "b"}
