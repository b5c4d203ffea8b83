"""Brokers and certificates for the contract tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.certificates import Authority
from tests.contract.mosquitto import MosquittoBroker


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[MosquittoBroker]:
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    with MosquittoBroker(folder) as broker:
        yield broker


@pytest.fixture
def mosquitto_tls(tmp_path: Path, authority: Authority) -> Iterator[MosquittoBroker]:
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    with MosquittoBroker(folder, authority) as broker:
        yield broker
