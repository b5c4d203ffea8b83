"""Messages are kept in tuples: everything that dataclasses promise stays true."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from operator import eq, ne
from unittest.mock import ANY

import pytest

from model.messages import Cycle, Outcome, RawValue
from model.tuples import kept_in_a_tuple, maker

T0 = datetime(2026, 6, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class _Plain:
    """A probe without the decorator."""

    first: int
    second: str = "two"


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class _Quick:
    """The same with it."""

    first: int
    second: str = "two"


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class _Other:
    """Equal fields, another class."""

    first: int
    second: str = "two"


def test_the_signature_is_the_same() -> None:
    assert inspect.signature(_Quick) == inspect.signature(_Plain)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'first'"):
        _Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'third'"):
        _Quick(1, third=3)  # type: ignore[call-arg]


def test_an_instance_cannot_be_changed_and_is_compared_hashed_copied_and_pickled() -> None:
    quick = _Quick(1)
    assert (quick.first, quick.second) == (1, "two")
    with pytest.raises(FrozenInstanceError):
        quick.first = 2  # type: ignore[misc]
    assert quick == _Quick(first=1, second="two") != _Quick(1, "three")
    assert hash(quick) == hash(_Quick(1))
    assert repr(quick) == "_Quick(first=1, second='two')"
    assert replace(quick, second="three") == _Quick(1, "three")
    assert copy.deepcopy(quick) == pickle.loads(pickle.dumps(quick)) == quick


def test_nothing_shows_that_it_is_a_tuple() -> None:
    quick = _Quick(1)
    for other in ((1, "two"), _Other(1)):
        assert not eq(quick, other) and not eq(other, quick) and ne(quick, other) and ne(other, quick)
    assert eq(quick, ANY) and eq(ANY, quick)
    with pytest.raises(TypeError):
        sorted([quick, _Quick(0)])  # type: ignore[type-var]
    with pytest.raises(TypeError, match="not iterable"):
        list(quick)  # type: ignore[call-overload]
    with pytest.raises(FrozenInstanceError):
        del quick.first
    assert asdict(quick) == {"first": 1, "second": "two"}
    assert [field.name for field in fields(quick)] == ["first", "second"]


def test_thousands_are_made_of_all_their_fields_at_once() -> None:
    assert list(map(maker(_Quick), [(1, "one"), (2, "two")])) == [_Quick(1, "one"), _Quick(2)]


def test_a_message_goes_through_the_recovery_store() -> None:
    cycle = Cycle("m", T0, T0, 0.5, Outcome.OK, (RawValue("voltage", 2300, -1, 35),))
    assert pickle.loads(pickle.dumps(cycle)) == cycle
    assert (cycle.errors, cycle.exchanges, cycle.received) == ((), 0, None)


def test_a_class_that_does_more_than_to_store_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class WithFactory:
        values: list[int] = field(default_factory=list)

    with pytest.raises(TypeError, match="WithFactory does more"):
        kept_in_a_tuple(WithFactory)
