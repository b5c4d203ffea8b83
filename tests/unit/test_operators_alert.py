from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
import structlog
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from model.messages import FLEET, Alert, HealthReport, Severity, Violation, ViolationCount
from operators.alert import AlertLogic, alert, log_alert
from operators.alert_rules import AlertSettings, RecentWindows, SubjectAlerts

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def report(minute: int, meter: str = "m1", *, cycles: int = 12, failed: int = 0, **changes: Any) -> HealthReport:
    """One minute's report of a meter that is well, but for the changes."""
    good = cycles - failed
    values: dict[str, Any] = {
        "ok": good,
        "partial": 0,
        "with_values": good,
        "readings": 5 * good,
        "rejected": 0,
        "published": 5 * good,
        "cycles_published": good,
        "published_late": 0,
        "exchanges": 5 * cycles,
        "associations": 0,
        "read_times": (),
        "last_good": at(minute + 0.9),
        "clock_offset": None,
        "last_error": None,
    }
    return HealthReport(meter=meter, start=at(minute), end=at(minute + 1), cycles=cycles, failed=failed, **{**values, **changes})


def fleet(minute: int, cycles: int, published: int, failed: int = 0, with_values: int | None = None) -> HealthReport:
    values = cycles - failed if with_values is None else with_values
    return report(minute, FLEET, cycles=cycles, failed=failed, with_values=values, cycles_published=published)


def quiet(minute: int, last_good: float | None = None, **changes: Any) -> HealthReport:
    return report(minute, last_good=None if last_good is None else at(last_good), readings=0, **changes)


def judged(reports: list[HealthReport], **limits: Any) -> list[Alert]:
    alerts = SubjectAlerts(reports[0].meter, AlertSettings(**limits))
    return [each for one in reports for each in alerts.judge(one)]


def brief(alerts: list[Alert]) -> list[tuple[str, bool, str, float]]:
    return [(a.kind, a.raised, a.severity.value, (a.ts - T0) / timedelta(minutes=1)) for a in alerts]


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ([100, 98, 95], []),
        ([94, 94, 94], [("publish-rate", True, "warning", 1)]),
        ([1, 1, 1], [("publish-rate", True, "critical", 1)]),
        ([94, 40, 40], [("publish-rate", True, "warning", 1), ("publish-rate", True, "critical", 2)]),
        ([40, 60, 96], [("publish-rate", True, "critical", 1)]),
        ([94, 96, 97, 98, 100], [("publish-rate", True, "warning", 1), ("publish-rate", False, "warning", 4)]),
        (
            [40, 100, 40],
            [("publish-rate", True, "critical", 1), ("publish-rate", False, "critical", 2), ("publish-rate", True, "critical", 3)],
        ),
    ],
)
def test_publish_rate(published: list[int], expected: list[Any]) -> None:
    assert brief(judged([fleet(minute, 100, count) for minute, count in enumerate(published)])) == expected


def test_publish_rate_waits_for_enough_cycles() -> None:
    reports = [fleet(minute, 1, 0) for minute in range(25)]
    assert brief(judged(reports, min_cycles=20)) == [("publish-rate", True, "critical", 20)]


def test_publish_rate_is_not_judged_without_cycles() -> None:
    assert judged([fleet(0, 0, 0), fleet(1, 0, 0)], min_cycles=1) == []


@pytest.mark.parametrize(
    ("numbers", "says", "advises", "does_not_advise"),
    [
        ({"published": 1}, "99 read but not acknowledged by ThingsBoard", "same token", "link they share"),
        ({"published": 10, "failed": 90}, "90 failed at the meters", "link they share", "same token"),
        ({"published": 10, "with_values": 10}, "90 without an accepted value", "rejections", "same token"),
        ({"published": 20, "failed": 40}, "40 failed at the meters, 40 read but not acknowledged", "same token", "rejections"),
    ],
)
def test_publish_rate_says_where_the_loss_is(numbers: dict[str, int], says: str, advises: str, does_not_advise: str) -> None:
    (raised,) = judged([fleet(0, 100, **numbers)])
    assert says in raised.evidence
    assert f"{numbers['published']} of 100 cycles published ({numbers['published']} %)" in raised.evidence
    assert advises in raised.remedy
    assert does_not_advise not in raised.remedy


def test_a_silent_meter_is_raised_once_and_cleared_by_a_good_reading() -> None:
    reports = [report(0), *[quiet(m, 0.9, failed=12, last_error="connect: refused") for m in range(1, 15)], report(15)]
    alerts = [a for a in judged(reports) if a.kind == "meter-silent"]
    assert brief(alerts) == [("meter-silent", True, "critical", 11), ("meter-silent", False, "critical", 16)]
    assert "no good reading for 10 min" in alerts[0].evidence
    assert "connect: refused" in alerts[0].evidence
    assert "port" in alerts[0].remedy


def test_a_meter_that_never_answered_is_silent_too() -> None:
    alerts = judged([quiet(m, cycles=0) for m in range(12)])
    assert brief(alerts) == [("meter-silent", True, "critical", 10)]
    assert "never" in alerts[0].evidence


def test_the_time_in_which_the_pipeline_was_stopped_is_not_silence() -> None:
    reports = [report(0), *[quiet(m, 0.9, cycles=0) for m in range(600, 612)]]
    assert brief(judged(reports)) == [("meter-silent", True, "critical", 610)]


def test_a_clock_set_back_is_not_silence() -> None:
    assert judged([report(600), quiet(0, 600, cycles=0), quiet(1, 1, cycles=0)]) == []


def test_a_slow_meter_is_silent_only_after_three_of_its_intervals() -> None:
    alerts = SubjectAlerts("m1", AlertSettings(), interval=900)
    raised = [a for minute in range(1, 60) for a in alerts.judge(quiet(minute, 0.9, cycles=0))]
    assert brief(raised) == [("meter-silent", True, "critical", 46)]


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        ([5, 5, 5], []),
        ([6, 6, 6], [("meter-failing", True, "warning", 1)]),
        ([12, 5, 3, 2], [("meter-failing", True, "warning", 1), ("meter-failing", False, "warning", 4)]),
    ],
)
def test_a_failing_meter(failed: list[int], expected: list[Any]) -> None:
    reports = [report(minute, failed=count, last_error="timeout: no reply") for minute, count in enumerate(failed)]
    alerts = judged(reports)
    assert brief(alerts) == expected
    if alerts:
        assert alerts[0].evidence == f"{failed[0]} of 12 cycles failed; last error: timeout: no reply"
        assert "exchange_timeout" in alerts[0].remedy


def test_few_cycles_are_gathered_before_a_meter_is_failing() -> None:
    reports = [report(minute, cycles=1, failed=1) for minute in range(12)]
    assert brief(judged(reports)) == [("meter-failing", True, "warning", 10)]


def test_rejected_values_by_share() -> None:
    reports = [report(0, rejected=3), report(1, rejected=4), report(2, rejected=2), report(3, rejected=0)]
    assert brief(judged(reports)) == [("values-rejected", True, "warning", 2), ("values-rejected", False, "warning", 4)]


def test_rejected_values_by_count() -> None:
    reports = [report(0, rejected=2), report(1, rejected=1), report(2, rejected=0)]
    alerts = judged(reports, rejected_count=2)
    assert brief(alerts) == [("values-rejected", True, "warning", 1), ("values-rejected", False, "warning", 3)]
    assert alerts[0].evidence == "2 values rejected in one window"


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([60.0, -60.0, None], []),
        ([61.0, None, 45.0, -20.0], [("clock-off", True, "warning", 1), ("clock-off", False, "warning", 4)]),
        ([-3600.0, -3600.0], [("clock-off", True, "warning", 1)]),
    ],
)
def test_a_clock_that_is_off(offsets: list[float | None], expected: list[Any]) -> None:
    alerts = judged([report(minute, clock_offset=offset) for minute, offset in enumerate(offsets)])
    assert brief(alerts) == expected
    if offsets[0] == -3600.0:
        assert alerts[0].evidence == "the meter's clock is 60 min behind"


def test_a_well_meter_raises_nothing() -> None:
    assert judged([report(minute, clock_offset=1.0) for minute in range(30)]) == []


def test_the_fleet_report_is_not_judged_as_a_meter() -> None:
    bad = report(0, FLEET, cycles=100, failed=100, clock_offset=9999.0, last_good=None, rejected=1000)
    assert {a.kind for a in judged([bad])} == {"publish-rate"}


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), max_size=30), st.integers(1, 100))
@settings(max_examples=60, deadline=None)
def test_recent_windows_hold_no_more_than_needed(rows: list[tuple[int, int]], enough: int) -> None:
    recent = RecentWindows(enough)
    for place, row in enumerate(rows):
        sums = recent.add(*row)
        assert recent.rows == rows[place + 1 - len(recent.rows) : place + 1]
        assert sum(row[0] for row in recent.rows[1:]) < enough
        assert (sums is None) == (sum(row[0] for row in rows[: place + 1]) < enough)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 20)), max_size=30), st.data())
@settings(max_examples=60, deadline=None)
def test_raises_and_clears_alternate_also_across_restarts(windows: list[tuple[int, int]], data: st.DataObject) -> None:
    alerts = SubjectAlerts(FLEET, AlertSettings())
    standing: Severity | None = None
    for minute, (published, failed) in enumerate(windows):
        if data.draw(st.booleans()):
            saved = pickle.loads(pickle.dumps(alerts.state()))
            alerts = SubjectAlerts(FLEET, AlertSettings())
            alerts.restore(saved)
        for each in alerts.judge(fleet(minute, 100, min(published, 100 - failed), failed)):
            if each.raised:
                assert standing is None or (standing, each.severity) == (WARNING, CRITICAL)
                standing = each.severity
            else:
                assert standing is each.severity
                standing = None


def test_the_state_is_small_and_plain() -> None:
    alerts = SubjectAlerts("m1", AlertSettings())
    for minute in range(1000):
        alerts.judge(quiet(minute, cycles=1, failed=1, last_error="timeout: no reply"))
    saved = pickle.dumps(alerts.state())
    assert b"operators" not in saved
    assert len(saved) < 1000


def test_alerts_of_a_meter_taken_out_of_the_configuration_are_cleared() -> None:
    logic = AlertLogic(None, AlertSettings(), {"m1": 5.0})
    list(logic.on_batch([report(0, failed=12)])[0])
    assert logic.notify_at() is None
    again = AlertLogic(logic.snapshot(), AlertSettings(), {"m2": 5.0}, lambda: at(9))
    assert again.notify_at() == at(9)
    cleared, discard = again.on_notify()
    assert brief(list(cleared)) == [("meter-failing", False, "warning", 9)]
    assert discard


def test_state_of_another_version_is_dropped_with_a_warning() -> None:
    with structlog.testing.capture_logs() as logs:
        assert AlertLogic({"version": 99}, AlertSettings(), None).snapshot() is None
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_log_levels() -> None:
    def one(severity: Severity, raised: bool) -> tuple[str, Alert]:
        return "m1", Alert("meter-failing", "m1", severity, raised, T0, "6 of 10 cycles failed", "check wiring" if raised else "")

    with structlog.testing.capture_logs() as logs:
        for item in (one(WARNING, True), one(CRITICAL, True), one(CRITICAL, False)):
            log_alert("alerts.log", item)
    assert [entry["log_level"] for entry in logs] == ["warning", "error", "info"]
    assert [entry.get("remedy") for entry in logs] == ["check wiring", "check wiring", None]
    assert logs[0]["subject"] == "m1"


@pytest.mark.parametrize(
    "bad", [{"publish_warning": 0.4}, {"publish_clear": 0.9}, {"min_cycles": 0}, {"failing_share": 1.5}, {"silent": "10m"}]
)
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        AlertSettings.model_validate(bad)


def test_in_a_flow_an_alert_is_raised_once_across_an_abort(tmp_path: Path) -> None:
    init_db_dir(tmp_path, 1)
    bad = [(FLEET, fleet(minute, 100, 10)) for minute in range(4)]
    items = [*bad[:2], TestingSource.ABORT(), *bad[2:], ("m1", report(4, failed=12)), (FLEET, fleet(4, 100, 100))]
    out: list[tuple[str, Alert]] = []
    flow = Dataflow("alert_flow")
    reports = op.input("in", flow, TestingSource(items))
    alerts = alert("alerts", reports, settings=AlertSettings())
    op.output("out", alerts, TestingSink(out))
    for _ in range(2):
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(tmp_path)))
    assert [(key, a.kind, a.raised) for key, a in out] == [
        (FLEET, "publish-rate", True),
        ("m1", "meter-failing", True),
        (FLEET, "publish-rate", False),
    ]


def attacked(minute: int, count: int = 1, violation: Violation = Violation.WRONG_TAG) -> HealthReport:
    return report(minute, violations=(ViolationCount(violation, count, "the authentication tag is wrong"),))


def test_one_message_that_is_not_authentic_is_a_possible_attack_even_where_all_cycles_are_good() -> None:
    (raised,) = judged([report(0), attacked(1, 3)])
    assert (raised.kind, raised.severity, raised.subject) == ("possible-attack", CRITICAL, "m1")
    assert "3 messages" in raised.evidence and "3 wrong-tag" in raised.evidence and "the authentication tag is wrong" in raised.evidence
    assert "none of it became a value" in raised.remedy and "keys" in raised.remedy


def test_a_possible_attack_is_raised_once_and_cleared_after_a_long_quiet() -> None:
    reports = [attacked(0), attacked(1), *(report(minute) for minute in range(2, 70))]
    assert brief(judged(reports)) == [("possible-attack", True, "critical", 1), ("possible-attack", False, "critical", 62)]


def test_the_quiet_after_an_attack_counts_over_a_restart() -> None:
    before = SubjectAlerts("m1", AlertSettings())
    before.judge(attacked(0))
    after = SubjectAlerts("m1", AlertSettings())
    after.restore(pickle.loads(pickle.dumps(before.state())))
    assert after.judge(report(1)) == []
    assert brief(after.judge(report(61))) == [("possible-attack", False, "critical", 62)]


def test_an_invocation_counter_near_its_end_is_a_warning() -> None:
    reports = [report(0, invocation_counter=1_999_999_999), report(1, invocation_counter=2_000_000_000), report(2, invocation_counter=17)]
    raised, cleared = judged(reports)
    assert (raised.kind, raised.severity, raised.raised) == ("invocation-counter", WARNING, True)
    assert "2000000000" in raised.evidence and "block_cipher_key" in raised.remedy
    assert not cleared.raised


def test_a_refused_invocation_counter_is_critical_until_the_meter_is_read_again() -> None:
    refused = [quiet(minute, cycles=1, failed=1, last_error="counter: refused", invocation_counter=9) for minute in (0, 1)]
    alerts = [each for each in judged([*refused, report(2, invocation_counter=1000)]) if each.kind == "invocation-counter"]
    assert [(each.raised, each.severity) for each in alerts] == [(True, CRITICAL), (False, CRITICAL)]
