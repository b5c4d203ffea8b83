"""The judge of one meter's readings: pure, with a state that can be stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from model.messages import Reading, Rejection
from model.restored import restored
from operators.validation.checks import Check, Finding, checks_for
from operators.validation.progress import Progress, ProgressRules
from operators.validation.rules import Rules, rules_for
from operators.verdicts import Verdict

STATE_VERSION = 1
REMEMBERED = 32
"""Rejections along time kept per key, so that their repeats are rejected too."""

State = dict[str, Any]
Note = Callable[[Reading, str], None]
"""Told when something unusual was accepted: the reading and what happened."""


class KeyRules:
    """All that applies to one key, ready to use."""

    __slots__ = ("along_time", "checks")

    def __init__(self, rules: Rules) -> None:
        self.checks: tuple[Check, ...] = checks_for(rules)
        along_time = ProgressRules(rules)
        self.along_time = along_time if along_time.needed else None


class RuleBook:
    """The rules of one node, worked out once per key and shared by the judges of all meters."""

    def __init__(self, defaults: Rules, rules: Mapping[str, Rules]) -> None:
        self._defaults = defaults
        self._rules = rules
        self._by_key: dict[str, KeyRules] = {}

    def __getitem__(self, key: str) -> KeyRules:
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = KeyRules(rules_for(key, self._defaults, self._rules))
        return found


class _KeyState:
    """What is known about one key of one meter: up to when it was judged, how it goes on, and what was rejected."""

    __slots__ = ("judged", "progress", "rejected")

    def __init__(self, judged: datetime, progress: Progress, rejected: dict[datetime, Finding]) -> None:
        self.judged = judged
        self.progress = progress
        self.rejected = rejected

    def reject(self, ts: datetime, finding: Finding) -> None:
        self.rejected[ts] = finding
        if len(self.rejected) > REMEMBERED:
            del self.rejected[next(iter(self.rejected))]


def _key_states(state: State) -> dict[str, _KeyState]:
    return {
        key: _KeyState(judged, Progress(*progress), {ts: Finding(*finding) for ts, finding in rejected})
        for key, (judged, progress, rejected) in state["keys"].items()
    }


class MeterJudge:
    """Judges the readings of one meter, each key by its rules.

    Readings come in the order of their timestamps, or late, or again. One that is not newer than the newest judged
    reading of its key is judged by itself only (limits, allowed values, timestamps) and changes nothing, except that
    a repeat of a reading which was rejected along time is rejected for the same reason. So a repeat after a recovery
    gets the verdict it had.

    :arg book: the rules.
    :arg note: told when a rollover or a new baseline was accepted.
    :arg state: what `snapshot` returned; one of another version is not used.
    """

    def __init__(self, book: RuleBook, note: Note, state: State | None = None) -> None:
        self._book = book
        self._note = note
        self._keys = restored(state, frozenset({STATE_VERSION}), _key_states, "validate") or {}

    def judge(self, reading: Reading) -> Verdict:
        """The reading itself, or why it is rejected."""
        rules = self._book[reading.key]
        for check in rules.checks:
            finding = check(reading)
            if finding is not None:
                return Rejection(reading, finding.rule, finding.reason)
        if rules.along_time is None:
            return reading
        finding = self._along_time(rules.along_time, reading)
        return reading if finding is None else Rejection(reading, finding.rule, finding.reason)

    def _along_time(self, rules: ProgressRules, reading: Reading) -> Finding | None:
        state = self._keys.get(reading.key)
        if state is None:
            state = self._keys[reading.key] = _KeyState(reading.ts, Progress(), {})
        elif reading.ts <= state.judged:
            return state.rejected.get(reading.ts)
        state.judged = reading.ts
        step = rules.advance(state.progress, reading)
        if step.finding is not None:
            state.reject(reading.ts, step.finding)
        if step.note:
            self._note(reading, step.note)
        return step.finding

    def snapshot(self) -> State:
        """The state as plain values, independent of what happens to this judge afterwards."""
        return {
            "version": STATE_VERSION,
            "keys": {
                key: (state.judged, state.progress.as_tuple(), [(ts, tuple(finding)) for ts, finding in state.rejected.items()])
                for key, state in self._keys.items()
            },
        }
