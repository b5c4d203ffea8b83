from __future__ import annotations

from pathlib import Path

from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.outbox_state import look_into, profile_records
from connectors.thingsboard.payload import Kind, Record, encode_record
from model.timestamps import to_ms

MANY = 10_000


def filled(path: Path) -> Path:
    outbox = Outbox(path)
    outbox.append(
        [Record("M", "m", Kind.TELEMETRY, n, encode_record(n, {"x": n}), "profile" if n % 2 else "poll", 1, n + 5, 1) for n in range(MANY)]
    )
    outbox.close()
    return path


def test_an_outbox_is_counted(tmp_path: Path) -> None:
    state = look_into(filled(tmp_path / "outbox.sqlite"), patience=60)
    assert (state.waiting, state.exact) == (MANY, True)
    assert state.oldest is not None and to_ms(state.oldest) == 5
    assert profile_records(tmp_path / "outbox.sqlite", "m", 60) == MANY // 2


def test_one_that_takes_too_long_to_count_is_told_with_a_bound(tmp_path: Path) -> None:
    path = filled(tmp_path / "outbox.sqlite")
    state = look_into(path, patience=-1)
    assert not state.exact and state.waiting >= MANY
    assert state.oldest is not None and to_ms(state.oldest) == 5
    assert profile_records(path, "m", -1) is None
    assert look_into(path).exact
