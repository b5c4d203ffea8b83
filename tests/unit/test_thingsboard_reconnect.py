from __future__ import annotations

from datetime import datetime, timezone

from connectors.thingsboard.ending import CONNECTION_LOST, SHUTTING_DOWN, TAKEN_OVER, Ending
from connectors.thingsboard.reconnect import QUICK_LIMIT, STABLE, Reconnect
from connectors.thingsboard.trouble import REPEATED, Trouble
from model.messages import Alert

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def waits(ending: Ending, lifetimes: list[float], longest: float = 120.0) -> list[float]:
    reconnect = Reconnect(1.0, longest, uniform=lambda _low, high: high)
    return [reconnect.after(ending, lifetime) for lifetime in lifetimes]


def test_a_fight_over_the_session_backs_off_up_to_minutes() -> None:
    assert waits(TAKEN_OVER, [5.0] * 6) == [5.0, 10.0, 20.0, 40.0, 80.0, 120.0]


def test_a_server_that_is_merely_away_is_tried_more_often() -> None:
    assert waits(CONNECTION_LOST, [0.0] * 6) == [1.0, 2.0, 4.0, 8.0, QUICK_LIMIT, QUICK_LIMIT]


def test_only_a_stable_connection_starts_over() -> None:
    assert waits(TAKEN_OVER, [5.0, 5.0, STABLE, 5.0]) == [5.0, 10.0, 5.0, 10.0]


def test_the_setting_is_the_upper_bound() -> None:
    assert waits(TAKEN_OVER, [1.0] * 3, longest=2.0) == [2.0, 2.0, 2.0]


def test_jitter_stays_between_half_and_all() -> None:
    reconnect = Reconnect(8.0, 120.0)
    assert all(4.0 <= Reconnect(8.0, 120.0).after(CONNECTION_LOST, 0.0) <= 8.0 for _ in range(50))
    assert reconnect.after(CONNECTION_LOST, 0.0) > 0.0


class Setting:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.now = 1_000.0
        self.trouble = Trouble(self.alerts.append, 180.0, lambda: NOW, lambda: self.now)

    def states(self) -> list[tuple[bool, str]]:
        return [(alert.raised, alert.evidence.partition(" (")[0]) for alert in self.alerts]


def test_a_restart_of_the_server_is_no_alert() -> None:
    setting = Setting()
    setting.trouble.happened(SHUTTING_DOWN, "x")
    setting.trouble.delivered()
    assert setting.alerts == []


def test_an_outage_is_one_alert_until_something_is_delivered() -> None:
    setting = Setting()
    for _ in range(5):
        setting.trouble.happened(CONNECTION_LOST, "x")
    assert setting.states() == [(True, CONNECTION_LOST.explanation)]
    setting.trouble.delivered()
    assert [alert.raised for alert in setting.alerts] == [True, False]
    assert {(alert.kind, alert.subject) for alert in setting.alerts} == {("session", "thingsboard")}


def test_a_fight_is_one_alert_until_it_has_been_quiet() -> None:
    setting = Setting()
    for _ in range(5):
        setting.trouble.happened(TAKEN_OVER, "x")
        setting.now += 60.0
        setting.trouble.delivered()
    assert setting.states() == [(True, TAKEN_OVER.explanation)]
    assert setting.alerts[0].remedy == TAKEN_OVER.remedy
    setting.now += 200.0
    setting.trouble.delivered()
    assert [alert.raised for alert in setting.alerts] == [True, False]


def test_another_cause_is_told_too() -> None:
    setting = Setting()
    setting.trouble.happened(TAKEN_OVER, "x")
    for _ in range(REPEATED):
        setting.trouble.happened(CONNECTION_LOST, "y")
    assert setting.states() == [(True, TAKEN_OVER.explanation), (True, CONNECTION_LOST.explanation)]
