"""Finding frames in a stream: junk, half frames, shared flags, flags in the information, any chunking."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.events import Discarded
from connectors.dlms.hdlc.frame import Address, Frame, FrameType
from connectors.dlms.hdlc.scanner import FrameScanner

METER = Address(1, 17, 4)
CLIENT = Address(16)
RR = Frame(FrameType.RR, CLIENT, METER, nr=1)
SHORT = Frame(FrameType.I, CLIENT, METER, bytes.fromhex("e6e700c401c1000600000123"), ns=1, nr=2)
FLAGS_INSIDE = Frame(FrameType.I, CLIENT, METER, b"\x7e\xa0\x0a\x7e\x7e" + bytes(40) + b"\x7e", ns=2, nr=3)
FRAMES = (RR, SHORT, FLAGS_INSIDE)


def scan(data: bytes, cuts: tuple[int, ...] = ()) -> tuple[list[Frame], int]:
    """The frames in `data`, fed in pieces, and how many bytes were discarded."""
    scanner = FrameScanner()
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    items = [item for start, end in itertools.pairwise(bounds) for item in scanner.feed(data[start:end])]
    frames = [item for item in items if isinstance(item, Frame)]
    return frames, sum(item.count for item in items if isinstance(item, Discarded))


def every_way(data: bytes) -> tuple[list[Frame], int]:
    """`scan`, and the same byte by byte."""
    whole = scan(data)
    assert scan(data, tuple(range(len(data)))) == whole
    return whole


@pytest.mark.parametrize("frame", FRAMES)
def test_one_frame(frame: Frame) -> None:
    assert every_way(frame.encode()) == ([frame], 0)


def test_one_flag_closes_a_frame_and_opens_the_next() -> None:
    assert every_way(RR.encode() + SHORT.encode()[1:] + FLAGS_INSIDE.encode()[1:]) == ([RR, SHORT, FLAGS_INSIDE], 0)


def test_flags_fill_the_time_between_frames() -> None:
    assert every_way(b"\x7e\x7e" + RR.encode() + b"\x7e\x7e\x7e" + SHORT.encode() + b"\x7e") == ([RR, SHORT], 0)


def test_junk_is_counted_and_what_follows_is_kept() -> None:
    assert every_way(b"NO CARRIER\r\n" + SHORT.encode() + b"junk" + RR.encode() + b"x") == ([SHORT, RR], 17)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("size", range(1, 11))
def test_half_a_frame_does_not_swallow_the_next(frame: Frame, size: int) -> None:
    frames, _ = every_way(frame.encode()[:size] + SHORT.encode())
    assert frames == [SHORT]


def test_a_frame_inside_an_unfinished_one_is_found_at_once() -> None:
    """A stale half frame announces 60 more bytes that never come, because the meter waits for us."""
    scanner = FrameScanner()
    assert scanner.feed(FLAGS_INSIDE.encode()[:20]) == []
    items = scanner.feed(SHORT.encode())
    assert [item for item in items if isinstance(item, Frame)] == [SHORT]


def test_the_end_of_a_frame_whose_beginning_was_lost() -> None:
    frames, discarded = every_way(FLAGS_INSIDE.encode()[10:] + SHORT.encode())
    assert (frames, discarded > 0) == ([SHORT], True)


def test_a_damaged_frame_says_why() -> None:
    damaged = bytearray(SHORT.encode())
    damaged[-4] ^= 1
    items = FrameScanner().feed(bytes(damaged) + RR.encode())
    assert [item.reason for item in items if isinstance(item, Discarded)] == ["a damaged frame: wrong FCS"]
    assert items[-1] == RR


def test_a_false_length_does_not_wait_for_more() -> None:
    """A7 FF would announce two kilobytes, but its HCS tells at once that nothing begins here."""
    items = FrameScanner().feed(b"\x7e\xa7\xff\x21\x03\x10\x00\x00" + RR.encode())
    assert items[-1] == RR


def test_memory_is_bounded() -> None:
    scanner = FrameScanner()
    opener = Frame(FrameType.I, CLIENT, METER, bytes(2000)).encode()[:12]
    for _ in range(500):
        scanner.feed(opener)
        assert len(scanner._buffer) <= 2049 + 12
    frames = [item for item in scanner.feed(bytes(2100) + RR.encode()) if isinstance(item, Frame)]
    assert frames == [RR]


def test_a_long_burst_is_scanned_in_reasonable_work() -> None:
    frames, discarded = scan(RR.encode() * 3000 + b"\x7e" * 50_000 + SHORT.encode())
    assert (len(frames), discarded) == (3001, 0)


junk = st.binary(max_size=12)
cuts = st.lists(st.integers(0, 1000), max_size=12).map(tuple)


@given(st.lists(st.tuples(junk, st.sampled_from(FRAMES)), max_size=5), junk, cuts)
def test_good_frames_survive_any_junk_in_any_pieces(parts: list[tuple[bytes, Frame]], tail: bytes, pieces: tuple[int, ...]) -> None:
    data = b"".join(noise + frame.encode() for noise, frame in parts) + tail
    frames, discarded = scan(data, pieces)
    assert frames == [frame for _, frame in parts]
    assert discarded <= sum(len(noise) for noise, _ in parts) + len(tail)


@given(st.lists(st.sampled_from(FRAMES), min_size=1, max_size=3), st.data(), cuts)
def test_mutated_streams_give_the_same_in_any_pieces(chosen: list[Frame], data: st.DataObject, pieces: tuple[int, ...]) -> None:
    stream = bytearray(b"".join(frame.encode() for frame in chosen))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    assert scan(bytes(stream), pieces) == scan(bytes(stream)) == scan(bytes(stream), tuple(range(len(stream))))
