"""What is said of a recovery store that Bytewax could not use, file by file."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from flows.recovery_store import back_up, check_store, leave_to_another_host, make_store, remembered, set_aside, store_in_use
from model.cluster import Place
from model.errors import StorageError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "recovery"
    assert make_store(folder, 3)
    return folder


def part(store: Path, number: int = 1) -> Path:
    return store / f"part-{number}.sqlite3"


def change(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)


def test_a_new_store_is_sound(store: Path) -> None:
    assert check_store(store).partitions == 3
    assert not make_store(store, 5)
    assert remembered(store, "pipeline.meters.poll") == frozenset()


def test_many_may_make_it_at_once(tmp_path: Path) -> None:
    made: list[bool] = []
    makers = [threading.Thread(target=lambda: made.append(make_store(tmp_path / "recovery", 2))) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert sorted(made) == [False] * 7 + [True]
    assert check_store(tmp_path / "recovery").partitions == 2


def test_what_a_killed_maker_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "recovery.new").mkdir()
    (tmp_path / "recovery.new" / "part-0.sqlite3").write_bytes(b"half")
    (tmp_path / "recovery").mkdir()
    assert make_store(tmp_path / "recovery", 1)
    check_store(tmp_path / "recovery")


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "recovery").mkdir()
    (tmp_path / "recovery" / "letters").write_text("dear all")
    with pytest.raises(StorageError, match="may hold nothing but the store"):
        make_store(tmp_path / "recovery", 1)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda file: file.unlink(), "has lost part-1.sqlite3 of its 3 files"),
        (lambda file: file.write_bytes(b""), "part-1.sqlite3 of the recovery store is empty, damaged or of another version"),
        (lambda file: file.write_bytes(b"hello world" * 1000), "part-1.sqlite3 of the recovery store is damaged: file is not a database"),
        (lambda file: file.write_bytes(file.read_bytes()[:5000]), "part-1.sqlite3 of the recovery store is damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:4096] + b"x" * 8192), "part-1.sqlite3 of the recovery store is damaged"),
        (lambda file: change(file, "DROP TABLE snaps"), "no table snaps as it should be"),
        (lambda file: change(file, "ALTER TABLE snaps RENAME ser_change TO change"), "no table snaps as it should be"),
        (lambda file: change(file, "DELETE FROM parts"), "does not say which of its files it is"),
        (lambda file: change(file, "UPDATE parts SET part_count = 4"), "belong to different stores"),
        (lambda file: change(file, "UPDATE parts SET part_index = 0"), "belong to different stores"),
    ],
)
def test_damage_is_told_with_the_file_and_the_remedy(store: Path, harm, what: str) -> None:  # type: ignore[no-untyped-def]
    harm(part(store))
    with pytest.raises(StorageError) as told:
        check_store(store)
    assert what in told.value.what
    assert "python -m commands recovery --set-aside" in told.value.remedy


def test_a_store_that_is_not_there_is_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(StorageError) as told:
            check_store(folder)
        assert str(folder) in told.value.what
        assert "python -m commands recovery;" in told.value.remedy


def test_a_process_of_a_cluster_may_have_a_part_of_the_files(store: Path) -> None:
    part(store).unlink()
    assert check_store(store, complete=False).partitions == 3
    arguments = ["flows.main", "-r", str(store), "-s", "1", "-b", "0"]
    store_in_use(Place(0, 2), arguments, {})
    with pytest.raises(StorageError):
        store_in_use(Place(), arguments, {})
    with pytest.raises(StorageError):
        store_in_use(Place(), ["flows.main"], {"BYTEWAX_RECOVERY_DIRECTORY": str(store)})


def test_without_a_store_nothing_is_remembered() -> None:
    assert store_in_use(Place(), ["flows.main"], {})("pipeline.meters.poll") == frozenset()


def test_partitions_are_remembered_over_all_files(store: Path) -> None:
    for number, meter in enumerate(("a", "b", "b")):
        change(part(store, number), f"INSERT INTO snaps VALUES ('now', 'pipeline.meters.poll', '{meter}', 1, NULL)")  # noqa: S608
        change(part(store, number), "INSERT INTO snaps VALUES ('now', 'pipeline.others.poll', 'c', 1, NULL)")
    assert store_in_use(Place(), ["-r", str(store)], {})("pipeline.meters.poll") == {"a", "b"}


def test_a_backup_is_a_store(store: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(part(store))) as writer:
        writer.execute("INSERT INTO snaps VALUES ('now', 'pipeline.meters.poll', 'a', 1, NULL)")
        writer.commit()
        assert part(store).with_name("part-1.sqlite3-wal").stat().st_size  # what a plain copy of the file would not have
        back_up(store, tmp_path / "backups" / "monday")
    assert check_store(tmp_path / "backups" / "monday").partitions == 3
    assert remembered(tmp_path / "backups" / "monday", "pipeline.meters.poll") == {"a"}
    with pytest.raises(StorageError, match="exists already"):
        back_up(store, tmp_path / "backups" / "monday")


def test_set_aside_keeps_everything(store: Path) -> None:
    before = {file.name: file.read_bytes() for file in store.iterdir()}
    aside = set_aside(store)
    assert aside is not None
    assert {file.name: file.read_bytes() for file in aside.iterdir()} == before
    assert not store.exists()
    assert set_aside(store) is None


HOSTS = ("north:2101", "south:2101")


def test_over_several_hosts_all_files_are_with_process_0(store: Path) -> None:
    arguments = ["flows.main", "-r", str(store), "-s", "1", "-b", "0"]
    store_in_use(Place(0, 2, HOSTS), arguments, {})
    with pytest.raises(StorageError) as told:
        store_in_use(Place(1, 2, HOSTS), arguments, {})
    assert "this cluster has its one on north:2101" in told.value.what
    assert "recovery --set-aside --elsewhere" in told.value.remedy
    part(store).unlink()
    with pytest.raises(StorageError, match="has lost"):
        store_in_use(Place(0, 2, HOSTS), arguments, {})


def test_over_several_hosts_the_others_have_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "recovery"
    arguments = ["flows.main", "-r", str(folder), "-s", "1", "-b", "0"]
    with pytest.raises(StorageError) as told:
        store_in_use(Place(1, 2, HOSTS), arguments, {})
    assert "recovery --elsewhere" in told.value.remedy
    leave_to_another_host(folder)
    assert store_in_use(Place(1, 2, HOSTS), arguments, {})("any") == frozenset()
