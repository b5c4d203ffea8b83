from __future__ import annotations

from datetime import datetime, timezone

import pytest

from simulator.meter.date_time import decode_date_time, encode_date_time, local_time, zone


def test_the_clock_of_a_vendors_guide() -> None:
    # Wed 4 Dec 2002 10:06:11, not specified hundredths, deviation 120 minutes: 12:06:11 UTC.
    data = bytes.fromhex("07D20C04030A060BFF007800")
    assert decode_date_time(data, timezone.utc) == datetime(2002, 12, 4, 12, 6, 11, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize("name", ["UTC", "Europe/Madrid", "America/St_Johns"])
@pytest.mark.parametrize("at", [1_735_689_600.0, 1_751_328_000.0, 1_761_442_200.0, 1_761_445_800.0])
def test_a_time_survives_both_hours_of_the_autumn_night(name: str, at: float) -> None:
    assert decode_date_time(encode_date_time(local_time(at, zone(name))), zone(name)) == at


def test_daylight_saving_shows_in_status_and_deviation() -> None:
    summer = encode_date_time(local_time(1_751_328_000.0, zone("Europe/Madrid")))
    assert (int.from_bytes(summer[9:11], "big", signed=True), summer[11]) == (-120, 0x80)
    inverted = encode_date_time(local_time(1_751_328_000.0, zone("Europe/Madrid")), -1)
    assert int.from_bytes(inverted[9:11], "big", signed=True) == 120


@pytest.mark.parametrize("data", [b"", bytes(12), bytes.fromhex("FFFFFFFFFFFFFFFFFF800000")])
def test_a_date_that_is_not_specified_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_date_time(data, timezone.utc)


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ValueError, match=r"Mars/Olympus.*IANA"):
        zone("Mars/Olympus")
