"""Who is believed: recognition of senders, unknown senders, ciphered notifications, replays, downgrades, event notifications."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from connectors.dlms.push.authenticity import Counters, Security
from connectors.dlms.push.troubles import QUIET, UNKNOWN_SENDER
from connectors.dlms.security.protection import Keys, Policy, Suite, protect
from model.errors import StorageError
from model.messages import ErrorKind, Outcome, Violation
from tests.unit.push_setup import ADDRESS, NOW, Bench, values, wrapped

TITLE = bytes.fromhex("4D4D4D0000000007")
KEYS = Keys(Suite.SUITE_0, bytes(range(16)), bytes(range(0xD0, 0xE0)))
SECURE = Security(KEYS, Policy.AUTHENTICATED_ENCRYPTION, TITLE)
BY_TITLE = {"m": {"server_system_title": TITLE.hex()}}

# DataNotification, no time: array of {1-0:32.7.0, 2301, {-1, V}}
VOLTAGE = bytes.fromhex("0F 00000001 00 0101 0203 0906 0100200700FF 12 08FD 0202 0FFF 1623".replace(" ", ""))
# The same, with a serial number: structure of "SN-0042" and the array
WITH_SERIAL = bytes.fromhex("0F 00000002 00 0202 0A07 534E2D30303432 0101 0203 0906 0100200700FF 12 08FD 0202 0FFF 1623".replace(" ", ""))
# EventNotificationRequest: 2026-05-04 17:19:59 +00:00, Data 0-0:96.11.0 attribute 2, value 24
EVENT = bytes.fromhex("C2 01 0C 07EA05040111133B00000000 0001 0000600B00FF 02 11 18".replace(" ", ""))


def ciphered(apdu: bytes, counter: int, keys: Keys = KEYS, policy: Policy = Policy.AUTHENTICATED_ENCRYPTION, title: bytes = TITLE) -> bytes:
    return wrapped(protect(apdu, keys, policy, title, counter, general=True))


@pytest.mark.parametrize(
    "how",
    [
        {"push_address": ADDRESS},
        {"push_station": 1},
        {"push_identity": "SN-0042"},
        {"push_address": ADDRESS, "push_station": "1", "push_identity": "SN-0042"},
    ],
)
def test_a_sender_is_known_by_whatever_its_entry_gives(how):
    bench = Bench("wrapper", meters={"m": how, "other": {"push_identity": "SN-0043"}})
    (cycle,) = bench.push(wrapped(WITH_SERIAL))
    assert (cycle.meter, values(cycle)) == ("m", {"voltage": (2301, -1, 35)})
    assert bench.alerts() == []


def test_the_more_particular_entry_is_meant():
    bench = Bench("wrapper", meters={"m": {"push_address": ADDRESS, "push_identity": "SN-0042"}, "others": {"push_address": ADDRESS}})
    assert [cycle.meter for cycle in bench.push(wrapped(WITH_SERIAL) + wrapped(VOLTAGE))] == ["m", "others"]


@pytest.mark.parametrize(
    "meters",
    [
        {"m": {"push_address": "192.0.2.8"}},
        {"m": {"push_address": ADDRESS, "push_station": 2}},
        {"m": {"push_address": ADDRESS, "push_identity": "SN-0043"}},
        {"m": {"push_address": ADDRESS}, "twin": {"push_station": 1}},
    ],
)
def test_who_fits_no_entry_or_two_is_not_believed(meters):
    bench = Bench("wrapper", meters=meters)
    assert bench.push(wrapped(WITH_SERIAL)) == []
    (alert,) = bench.alerts()
    assert (alert.kind, alert.subject, alert.raised) == (UNKNOWN_SENDER, "pushed", True)
    assert alert.evidence == "1 notifications of 1 unknown senders: 192.0.2.7 station 1 with 'SN-0042' (1 notifications)"
    assert 'push_identity: "SN-0042"' in alert.remedy


def test_an_unknown_sender_is_told_at_first_sight_then_seldom_and_cleared_when_it_is_quiet():
    bench = Bench("wrapper", meters={"m": {"push_identity": "SN-0043"}})
    for _ in range(50):
        bench.push(wrapped(VOLTAGE))
    assert len(bench.alerts()) == 1
    bench.seconds += QUIET - 1
    assert bench.alerts() == []
    bench.push(wrapped(VOLTAGE))
    (again,) = bench.alerts()
    assert again.raised
    assert "51 notifications" in again.evidence
    bench.seconds += QUIET
    (cleared,) = bench.alerts()
    assert not cleared.raised
    assert bench.receiver.counts.unknown == 51


def test_invented_senders_fill_neither_memory_nor_the_list_of_alerts():
    bench = Bench("wrapper", meters={"m": {"push_identity": "SN-0043"}})
    for number in range(1000):
        bench.push(wrapped(VOLTAGE), bench.new_sender(f"198.51.100.{number}"))
    (alert,) = bench.alerts()
    assert bench.receiver.counts.unknown == 1000
    bench.seconds += 10
    bench.push(wrapped(VOLTAGE), bench.new_sender("203.0.113.1"))
    (alert,) = bench.alerts()
    assert "1001 notifications of 100 unknown senders" in alert.evidence
    assert "and 95 more" in alert.evidence


def test_a_ciphered_notification_is_opened():
    bench = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE})
    (cycle,) = bench.push(ciphered(VOLTAGE, 5))
    assert (cycle.outcome, values(cycle), cycle.violations) == (Outcome.OK, {"voltage": (2301, -1, 35)}, ())


@pytest.mark.parametrize(
    ("data", "violation"),
    [
        (ciphered(VOLTAGE, 6)[:-1] + b"\x00", Violation.WRONG_TAG),
        (ciphered(VOLTAGE, 6, Keys(Suite.SUITE_0, bytes(16), KEYS.authentication)), Violation.WRONG_TAG),
        (ciphered(VOLTAGE, 5), Violation.OLD_COUNTER),
        (ciphered(VOLTAGE, 4), Violation.OLD_COUNTER),
        (ciphered(VOLTAGE, 6, policy=Policy.ENCRYPTION), Violation.WEAKER_PROTECTION),
        (ciphered(VOLTAGE, 6, policy=Policy.AUTHENTICATION), Violation.WEAKER_PROTECTION),
        (wrapped(VOLTAGE), Violation.PLAINTEXT),
        (wrapped(EVENT), Violation.PLAINTEXT),
    ],
)
def test_what_is_not_authentic_is_counted_and_never_a_value(data, violation):
    meters = {"m": {"server_system_title": TITLE.hex(), "push_address": ADDRESS}}
    bench = Bench("wrapper", meters=meters, security={"m": SECURE})
    assert len(bench.push(ciphered(VOLTAGE, 5))) == 1
    (refused,) = bench.push(data)
    assert (refused.outcome, refused.values, refused.errors[0].kind) == (Outcome.FAILED, (), ErrorKind.SECURITY)
    assert [(found.violation, found.count) for found in refused.violations] == [(violation, 1)]
    (honest,) = bench.push(ciphered(VOLTAGE, 7))
    assert (honest.outcome, honest.violations) == (Outcome.OK, ())


def test_a_flood_of_forgeries_is_counted_in_full_in_few_cycles():
    bench = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE})
    forged = ciphered(VOLTAGE, 6)[:-1] + b"\x00"
    refused = [cycle for _ in range(1000) for cycle in bench.push(forged)]
    (honest,) = bench.push(ciphered(VOLTAGE, 7))
    counts = [found.count for cycle in (*refused, honest) for found in cycle.violations]
    assert len(refused) == 1
    assert sum(counts) == 1000 == bench.receiver.counts.refused


def test_a_foreign_title_is_an_unknown_sender():
    bench = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE})
    assert bench.push(ciphered(VOLTAGE, 6, title=bytes.fromhex("4D4D4D0000000008"))) == []
    (alert,) = bench.alerts()
    assert "server_system_title: 4D4D4D0000000008" in alert.remedy


def test_a_foreign_title_from_a_meters_own_address_is_a_violation():
    bench = Bench("wrapper", meters={"m": {"push_address": ADDRESS}}, security={"m": Security(KEYS, SECURE.policy, TITLE)})
    (cycle,) = bench.push(ciphered(VOLTAGE, 6, title=bytes.fromhex("4D4D4D0000000008")))
    assert cycle.violations[0].violation is Violation.FOREIGN_TITLE


def test_a_recorded_notification_is_refused_after_a_restart_too():
    before = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE})
    recorded = ciphered(VOLTAGE, 41)
    assert before.push(recorded)[0].values
    after = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE}, counters=Counters(before.counters.state()))
    (cycle,) = after.push(recorded)
    assert cycle.violations[0].violation is Violation.OLD_COUNTER
    assert after.push(ciphered(VOLTAGE, 42))[0].values


def test_a_recorded_notification_is_refused_after_a_kill_without_a_recovery_store_too(tmp_path: Path):
    file = tmp_path / "state" / "push-counters.json"
    before = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE}, counters=Counters(None, file))
    recorded = ciphered(VOLTAGE, 41)
    assert before.push(recorded)[0].values
    before.counters.keep()
    after = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE}, counters=Counters(None, file))
    assert after.push(recorded)[0].violations[0].violation is Violation.OLD_COUNTER
    older_snapshot = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE}, counters=Counters({}, file))
    assert older_snapshot.push(recorded)[0].violations[0].violation is Violation.OLD_COUNTER
    assert KEYS.encryption.hex() not in file.read_text()


def test_counters_that_cannot_be_kept_are_told_and_do_not_stop_the_listening(tmp_path: Path):
    blocker = tmp_path / "state"
    blocker.write_text("a file where a directory should be")
    counters = Counters({"title": 1})
    counters._file = blocker / "push-counters.json"
    bench = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE}, counters=counters)
    assert bench.push(ciphered(VOLTAGE, 41))[0].values
    with structlog.testing.capture_logs() as logs:
        counters.keep()
        counters.keep()
    assert [event["log_level"] for event in logs] == ["error"]
    blocker.unlink()
    counters.keep()
    assert Counters(None, blocker / "push-counters.json").state() == counters.state()


def test_a_damaged_file_of_counters_is_named_with_a_remedy(tmp_path: Path):
    file = tmp_path / "push-counters.json"
    file.write_text("{")
    with pytest.raises(StorageError, match=r"push-counters\.json cannot be used") as caught:
        Counters(None, file)
    assert "delete it" in caught.value.remedy


def test_a_new_key_starts_a_new_count():
    bench = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE})
    bench.push(ciphered(VOLTAGE, 1000))
    renewed = Keys(Suite.SUITE_0, bytes(range(1, 17)), KEYS.authentication)
    after = Bench("wrapper", meters=BY_TITLE, security={"m": Security(renewed, SECURE.policy, TITLE)}, counters=bench.counters)
    assert after.push(ciphered(VOLTAGE, 0, renewed))[0].values


def test_the_counts_do_not_give_keys_away():
    bench = Bench("wrapper", meters=BY_TITLE, security={"m": SECURE})
    bench.push(ciphered(VOLTAGE, 1))
    assert KEYS.encryption.hex() not in repr(bench.counters.state())
    assert KEYS.encryption.hex() not in repr(SECURE)
    assert repr(KEYS.encryption) not in repr(SECURE)


def test_an_unauthenticated_counter_cannot_lock_the_meter_out():
    security = Security(KEYS, Policy.ENCRYPTION, TITLE)
    bench = Bench("wrapper", meters=BY_TITLE, security={"m": security})
    forged = ciphered(b"\x00" * 30, 0xFFFFFFFF, policy=Policy.ENCRYPTION)
    assert bench.push(forged)[0].outcome is Outcome.FAILED
    assert bench.push(ciphered(VOLTAGE, 2, policy=Policy.ENCRYPTION))[0].outcome is Outcome.OK


def test_ciphered_notifications_of_a_meter_without_keys_say_what_is_missing():
    bench = Bench("wrapper", meters=BY_TITLE)
    (cycle,) = bench.push(ciphered(VOLTAGE, 2))
    assert cycle.errors[0].detail == "its notifications are ciphered, and its entry has no keys"


def test_an_event_notification_is_a_value_under_the_key_of_its_attribute():
    read = {"voltage": "1-0:32.7.0", "event": {"obis": "0-0:96.11.0", "class": 1}}
    bench = Bench("wrapper", read)
    (cycle,) = bench.push(wrapped(EVENT))
    assert values(cycle) == {"event": (24, None, None)}
    assert cycle.started.isoformat() == "2026-05-04T17:19:59+00:00"


def test_a_ciphered_event_notification_of_either_kind_is_opened():
    read = {"event": {"obis": "0-0:96.11.0", "class": 1}}
    meters = {"m": {"push_address": ADDRESS}}
    bench = Bench("wrapper", read, meters=meters, security={"m": SECURE})
    assert values(bench.push(ciphered(EVENT, 1))[0]) == {"event": (24, None, None)}
    service_specific = wrapped(protect(EVENT, KEYS, Policy.AUTHENTICATED_ENCRYPTION, TITLE, 2))
    assert values(bench.push(service_specific)[0]) == {"event": (24, None, None)}


@pytest.mark.parametrize(("minutes", "offset"), [(5, 300.0), (0, 0.0), (-1, -60.0), (-5, None)])
def test_a_clock_that_is_ahead_is_told_from_a_notification_that_waited(minutes, offset):
    moment = NOW + timedelta(minutes=minutes)
    fields = bytes([0x07, 0xEA, moment.month, moment.day, 0xFF, moment.hour, moment.minute, moment.second, 0, 0, 0, 0])
    (cycle,) = Bench("wrapper").push(wrapped(VOLTAGE[:5] + b"\x0c" + fields + VOLTAGE[6:]))
    assert (cycle.clock_offset, cycle.started) == (offset, moment)


def test_an_event_that_the_template_does_not_know_says_what_it_was():
    bench = Bench("wrapper")
    (cycle,) = bench.push(wrapped(EVENT))
    assert cycle.outcome is Outcome.FAILED
    assert "0.0.96.11.0.255 class 1 attribute 2" in cycle.errors[0].detail


@pytest.mark.parametrize(
    "apdu",
    [b"\x0f", b"\x0f\x00\x00\x00\x01\x05" + bytes(20), VOLTAGE + b"\x00", b"\xc2\x00\x00", b"\x18\x00", b"\x00", b"\xdd\x00", b"\xdb\x08"],
)
def test_what_cannot_be_read_is_counted(apdu):
    bench = Bench("wrapper")
    assert all(cycle.outcome is Outcome.FAILED for cycle in bench.push(wrapped(apdu)))
    assert bench.receiver.counts.malformed == 1
