"""The benchmarks run, in small: what they measure is real, so that they do not rot unseen."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import delivering, documented, flow
from bench.broker import PROGRAM
from bench.fleet import Fleet, run
from bench.prepared_meters import address, is_silent, prepared_meters
from bench.prepared_replies import REGISTERS
from bench.reading import CIPHERED, COUNT, PROFILE, OurProfile, OurReader
from bench.scale import explained
from bench.stock import StockMeter, cipher_of_the_library
from tests.contract.mosquitto import wait_for

needs_mosquitto = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_both_clients_read_the_load_generator_plain_and_ciphered(framing: str) -> None:
    with prepared_meters(framing=framing) as meters, ExitStack() as stack:
        addresses = [meters.connect(number) for number in range(3)]
        for settings in ({}, CIPHERED):
            for with_list in (False, True):
                ours = OurReader(addresses, cycles=2, framing=framing, with_list=with_list, **settings)
                stack.callback(ours.close)
                assert ours() == 2 * 3 * COUNT
            stack.enter_context(cipher_of_the_library())
            stock = StockMeter(addresses[0], REGISTERS[:COUNT], framing, ciphered=bool(settings))
            stack.callback(stock.close)
            assert stock.read() == COUNT
    assert meters.statistics["replies"] > 4 * 3 * COUNT
    assert meters.statistics["accepted"] >= 4 * 3


def test_a_profile_of_the_load_generator_arrives_whole() -> None:
    with prepared_meters(framing="wrapper", rows=300, columns=3, pdu=256) as meters, ExitStack() as stack:
        ours = OurProfile(meters.connect(0), 300, framing="wrapper")
        stack.callback(ours.close)
        assert ours() == 300
        stock = StockMeter(meters.connect(1), [], "wrapper")
        stack.callback(stock.close)
        assert stock.read_profile(PROFILE) == 300


def test_black_holes_accept_and_say_nothing_or_do_not_accept_at_all() -> None:
    silent = next(number for number in range(100) if is_silent(number, 50))
    assert sum(is_silent(number, 50) for number in range(100)) == 50
    with prepared_meters(silent=50) as meters:
        with socket.create_connection((address(silent), meters.port), 5) as connection:
            connection.sendall(bytes.fromhex("7EA00703219387A77E"))
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        with pytest.raises(TimeoutError):
            socket.create_connection((address(0), meters.never_port), 0.3)
    assert meters.statistics["replies"] == 0


def test_troubles_are_told_to_the_load_generator_while_it_runs() -> None:
    request = bytes.fromhex("7EA00703219383C57E")
    with prepared_meters(told=True) as meters:
        with socket.create_connection((address(0), meters.port), 5) as connection:
            reply = _reply(connection, request)
            assert reply[:1] == b"\x7e"
            meters.tell(corrupted=100)
            wait_for(lambda: _reply(connection, request) != reply, "a corrupted reply")
            meters.tell(corrupted=0)
            wait_for(lambda: _reply(connection, request) == reply, "an honest reply")
            meters.tell(cut=True)
            assert connection.recv(1) == b""
        meters.tell(silent=100)
        with socket.create_connection((address(1), meters.port), 5) as connection:
            connection.settimeout(0.3)
            connection.sendall(request)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            meters.tell(silent=0)
            connection.settimeout(5)
            wait_for(lambda: _reply(connection, request) == reply, "a reply")


def _reply(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    return connection.recv(1_000)


@needs_mosquitto
def test_the_flow_and_the_publisher_are_measured_to_the_last_acknowledgement(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*flow.rows(1, 2_000), *delivering.rows(1, 2_000, None)]
    assert [run.work for row in rows for run in (*row.ours, *row.rival)] == [2_000] * 6
    assert "left out" in capsys.readouterr().err


@needs_mosquitto
def test_a_fleet_is_read_end_to_end() -> None:
    fleet = Fleet(meters=4, interval=1.0, registers=3, new_per_second=100.0)
    found = run(fleet, 3.0, calm=0.5)
    assert found.cycles
    assert found.values == 3 * found.cycles
    assert found.exchanges == found.cycles
    assert found.acknowledged
    assert found.bytes_per_reading > 5
    assert found.cpu > 0
    assert any("readings/s acknowledged" in line for line in explained(fleet, found))


def test_tables_go_where_the_document_has_a_place_for_them(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("before\n<!-- measured: a -->\nold\n<!-- end: a -->\nafter\n")
    documented.put("a", documented.table(["x", "y"], [["1", "2"]]), document)
    assert document.read_text() == "before\n<!-- measured: a -->\n| x | y |\n| --- | --- |\n| 1 | 2 |\n<!-- end: a -->\nafter\n"
    with pytest.raises(ValueError, match="no place for b"):
        documented.put("b", [], document)
    for section in ("rivals", "end to end", "meters", "registers", "history", "soak", "archive"):
        assert f"<!-- measured: {section} -->" in documented.DOCUMENT.read_text()
