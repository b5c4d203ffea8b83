from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flows.embedded import Embedded, check_virtual_meter
from flows.registry import installed_node_types
from model.errors import PipelineError
from model.loading.load import load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings():
    return load(ROOT / "pipeline.yaml", installed_node_types(), {}).settings


@pytest.fixture
def embedded(settings):
    made = Embedded(settings)
    yield made
    made.close()


def is_listening(address: str) -> bool:
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(1) == b""
    except ConnectionRefusedError:
        return False


def test_real_addresses_are_left_alone(embedded):
    assert embedded.resolve_meter("house-1", "tcp://192.0.2.1:4059") == "tcp://192.0.2.1:4059"
    assert embedded.resolve_thingsboard("mqtts://thingsboard.example.org") == "mqtts://thingsboard.example.org"


def test_a_virtual_meter_is_started_once_and_on_loopback(embedded):
    first = embedded.resolve_meter("house-1", "sim://three-phase")
    assert urlsplit(first)[:2] == ("tcp", f"127.0.0.1:{urlsplit(first).port}")
    assert embedded.resolve_meter("house-1", "sim://three-phase") == first
    assert embedded.resolve_meter("workshop", "sim://three-phase") != first
    assert is_listening(first)
    embedded.close()
    assert not is_listening(first)


def test_the_stand_in_is_started_once_and_on_loopback(embedded):
    address = embedded.resolve_thingsboard("embedded")
    assert address.startswith("mqtt://127.0.0.1:")
    assert embedded.resolve_thingsboard("embedded") == address
    assert is_listening(address)
    embedded.close()
    assert not is_listening(address)


def test_a_virtual_meter_that_cannot_be_says_why(embedded, settings):
    with pytest.raises(PipelineError, match="house-1 cannot be started"):
        embedded.resolve_meter("house-1", "sim://four-phase")
    with pytest.raises(ValueError, match="four-phase"):
        check_virtual_meter(settings.meters[0].model_copy(update={"connect": "sim://four-phase"}))
