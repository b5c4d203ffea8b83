from __future__ import annotations

from pathlib import Path

import pytest

from connectors.thingsboard.client_id import FILE_NAME, client_id
from model.errors import StorageError


def test_it_is_stable_and_unique_per_installation(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    assert client_id(first) == client_id(first)
    assert client_id(first) != client_id(second)


def test_it_fits_every_3_1_1_server(tmp_path: Path) -> None:
    assert len(client_id(tmp_path)) <= 23


def test_a_prefix_never_replaces_the_unique_part(tmp_path: Path) -> None:
    unique = client_id(tmp_path).rsplit("-", 1)[1]
    assert client_id(tmp_path, "plant-7") == f"plant-7-{unique}"


@pytest.mark.parametrize("content", ["", "not hexadecimal", "\ufffd", "a" * 500])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content, encoding="utf-8")
    assert client_id(tmp_path) == client_id(tmp_path)
    assert len((tmp_path / FILE_NAME).read_text(encoding="ascii").strip()) == 12


def test_a_directory_that_cannot_be_used_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(StorageError, match="client id cannot be kept"):
        client_id(tmp_path / "file")
