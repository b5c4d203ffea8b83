from __future__ import annotations

from datetime import datetime, timedelta, timezone

from connectors.thingsboard.ending import CONNECTION_LOST, MALFORMED, REFUSED_CREDENTIALS, SHUTTING_DOWN, TAKEN_OVER, Ending
from connectors.thingsboard.reconnect import QUICK_LIMIT, STABLE, Reconnect, stable
from connectors.thingsboard.trouble import REPEATED, Incident, Trouble
from model.messages import Alert, Severity

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
    setting.trouble.happened(SHUTTING_DOWN, Incident("x"))
    setting.trouble.delivered()
    assert setting.alerts == []


def test_an_outage_is_one_alert_until_something_is_delivered() -> None:
    setting = Setting()
    for _ in range(5):
        setting.trouble.happened(CONNECTION_LOST, Incident("x"))
    assert setting.states() == [(True, CONNECTION_LOST.explanation)]
    setting.trouble.delivered()
    assert [alert.raised for alert in setting.alerts] == [True, False]
    assert {(alert.kind, alert.subject) for alert in setting.alerts} == {("session", "thingsboard")}


def test_a_fight_is_one_alert_until_it_has_been_quiet() -> None:
    setting = Setting()
    for _ in range(5):
        setting.trouble.happened(TAKEN_OVER, Incident("x"))
        setting.now += 60.0
        setting.trouble.delivered()
    assert setting.states() == [(True, TAKEN_OVER.explanation)]
    assert setting.alerts[0].remedy == TAKEN_OVER.remedy
    setting.now += 200.0
    setting.trouble.delivered()
    assert [alert.raised for alert in setting.alerts] == [True, False]


def test_another_cause_is_told_too() -> None:
    setting = Setting()
    setting.trouble.happened(TAKEN_OVER, Incident("x"))
    for _ in range(REPEATED):
        setting.trouble.happened(CONNECTION_LOST, Incident("y"))
    assert setting.states() == [(True, TAKEN_OVER.explanation), (True, CONNECTION_LOST.explanation)]


def test_failures_of_changing_kinds_are_an_alert_too() -> None:
    setting = Setting()
    for ending in (CONNECTION_LOST, SHUTTING_DOWN, CONNECTION_LOST):
        setting.trouble.happened(ending, Incident("x"))
    assert setting.states() == [(True, CONNECTION_LOST.explanation)]


def test_the_evidence_says_when_how_often_what_was_said_and_who_we_are() -> None:
    alerts: list[Alert] = []
    times = iter([NOW, NOW + timedelta(seconds=6), NOW + timedelta(seconds=6), NOW + timedelta(seconds=6)])
    trouble = Trouble(alerts.append, 180.0, lambda: next(times), lambda: 0.0, "client c-1, pid 7 on host edge")
    trouble.happened(CONNECTION_LOST, Incident("server tb:1883", "", 3600.0))
    trouble.happened(TAKEN_OVER, Incident("server tb:1883", "", 2.0))
    assert alerts[0].evidence == (
        f"{TAKEN_OVER.explanation} (2 times in 6 s: 00:00:00 UTC after 3600.0 s, 00:00:06 UTC after 2.0 s;"
        " closed without a reason; server tb:1883; this is client c-1, pid 7 on host edge)"
    )


def test_a_dead_letter_is_an_alert_that_lasts() -> None:
    setting = Setting()
    setting.trouble.happened(MALFORMED, Incident("x", "reason code 0x99", at_once=True))
    setting.trouble.delivered()
    assert setting.states() == [(True, MALFORMED.explanation)]
    setting.now += 181.0
    setting.trouble.delivered()
    assert [alert.raised for alert in setting.alerts] == [True, False]


def test_with_short_waits_a_shorter_peace_is_enough() -> None:
    assert stable(120.0) == STABLE
    assert stable(2.0) == 20.0


def test_an_alert_of_an_earlier_run_is_cleared_after_peace() -> None:
    earlier = Alert("session", "thingsboard", Severity.CRITICAL, True, NOW, "taken over", "find it")
    alerts: list[Alert] = []
    times = [0.0]
    trouble = Trouble(alerts.append, 180.0, lambda: NOW, lambda: times[0], standing=earlier)
    trouble.delivered()
    assert alerts == []
    times[0] = 181.0
    trouble.delivered()
    trouble.delivered()
    assert [(alert.kind, alert.subject, alert.raised) for alert in alerts] == [("session", "thingsboard", False)]


def test_a_token_that_is_accepted_again_is_over_with_the_first_delivery() -> None:
    setting = Setting()
    setting.trouble.happened(REFUSED_CREDENTIALS, Incident("x", "reason code 0x87"))
    setting.trouble.delivered()
    assert [alert.raised for alert in setting.alerts] == [True, False]


def test_a_session_that_was_ended_over_its_token_waits_for_peace() -> None:
    setting = Setting()
    setting.trouble.happened(REFUSED_CREDENTIALS, Incident("x", "reason code 0x87", lifetime=3.0))
    setting.trouble.delivered()
    assert [alert.raised for alert in setting.alerts] == [True]


def test_a_refused_token_of_an_earlier_run_is_over_with_the_first_delivery() -> None:
    setting = Setting()
    setting.trouble.happened(REFUSED_CREDENTIALS, Incident("x", "reason code 0x87"))
    alerts: list[Alert] = []
    again = Trouble(alerts.append, 180.0, lambda: NOW, lambda: 0.0, standing=setting.alerts[0])
    again.delivered()
    assert [alert.raised for alert in alerts] == [False]
