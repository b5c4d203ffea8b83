from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from flows.logs import SecretMask, configure_logs
from model.messages import RawValue
from model.settings.pipeline import LogSettings

SECRET = 'hun"ter\\2'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_one_json_object_per_line_where_nobody_watches():
    stream = io.StringIO()
    configure_logs(LogSettings(), [], stream)
    structlog.get_logger("here").info("meter answered", meter="desk", count=3, rate=0.5, none=None)
    structlog.get_logger("here").debug("not shown")
    (line,) = lines(stream)
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "meter answered", "meter": "desk", "count": 3, "rate": 0.5, "none": None, "level": "info", "logger": "here"}


def test_a_message_is_logged_as_text():
    stream = io.StringIO()
    configure_logs(LogSettings(), [], stream)
    structlog.get_logger("here").info("seen", value=RawValue("voltage", 2300, -1, 35))
    assert json.loads(lines(stream)[0])["value"] == "RawValue(key='voltage', value=2300, scaler=-1, unit=35)"


@pytest.mark.parametrize(("stream", "colours"), [(Terminal(), True), (io.StringIO(), False)])
def test_people_get_one_line_per_event_and_colours_only_on_a_terminal(stream, colours):
    configure_logs(LogSettings(format="human"), [], stream)
    structlog.get_logger().info("meter said\nERROR: forged", meter="desk")
    (line,) = lines(stream)
    assert "forged" in line
    assert ("\x1b[" in line) is colours


def test_a_terminal_gets_the_human_form_by_itself():
    stream = Terminal()
    configure_logs(LogSettings(), [], stream)
    structlog.get_logger().info("hello")
    assert not stream.getvalue().startswith("{")


def test_an_exception_is_part_of_its_event():
    stream = io.StringIO()
    configure_logs(LogSettings(), [SECRET], stream)
    try:
        raise ValueError(SECRET)
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "ValueError: ***" in json.loads(line)["exception"]


@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger])
def test_people_get_an_exception_on_the_line_of_its_event(logger):
    stream = io.StringIO()
    configure_logs(LogSettings(format="human"), [SECRET], stream)
    try:
        raise ValueError(f"{SECRET}\nERROR: forged")
    except ValueError:
        logger("here").exception("failed", stack_info=True)
    (line,) = lines(stream)
    assert line.index("failed") < line.index("Traceback (most recent call last):") < line.index("ValueError: ***\\nERROR: forged")
    assert "called_from" in line


def test_libraries_that_use_logging_take_the_same_way():
    stream = io.StringIO()
    configure_logs(LogSettings(level="warning"), [SECRET], stream)
    logging.getLogger("paho").warning("sent %r", SECRET)
    logging.getLogger("paho").info("not shown")
    (line,) = lines(stream)
    assert json.loads(line)["event"] == "sent '***'"
    assert json.loads(line)["logger"] == "paho"


def test_level_error_shows_errors_only():
    stream = io.StringIO()
    configure_logs(LogSettings(level="error"), [], stream)
    structlog.get_logger().warning("not shown")
    structlog.get_logger().error("shown")
    assert [json.loads(line)["event"] for line in lines(stream)] == ["shown"]


class Described:
    def __repr__(self) -> str:
        return f"Described({SECRET!r})"


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"before {SECRET} after",
        repr(SECRET),
        json.dumps({"password": SECRET}),
        SECRET.encode(),
        SECRET.encode().hex(),
        SECRET.encode().hex(" ").upper(),
        "7ea0" + SECRET.encode().hex() + "7e",
        [SECRET, {SECRET: (SECRET,)}],
        {"nested": {"deeper": [SECRET]}},
        Described(),
        ValueError(SECRET),
    ],
)
@pytest.mark.parametrize("form", ["human", "json"])
def test_a_secret_is_masked_wherever_it_stands(value, form):
    stream = io.StringIO()
    configure_logs(LogSettings(format=form), [SECRET], stream)
    structlog.get_logger().info("event", value=value, **{"key": value})
    shown = stream.getvalue()
    assert "***" in shown
    for trace in (SECRET, SECRET.encode().hex(), SECRET.encode().hex(" ").upper(), repr(SECRET)[1:-1], json.dumps(SECRET)[1:-1]):
        assert trace not in shown


def test_a_password_given_as_bytes_is_masked_as_bytes():
    mask = SecretMask(["hex:0102AABB"])
    assert mask.text("c001 01 02 aa bb 7e") == "c001 *** 7e"
    assert mask.text("hex:0102AABB") == "***"


def test_a_secret_too_short_to_be_one_leaves_words_alone():
    assert SecretMask(["1", ""]).text("10 of 11 cycles") == "10 of 11 cycles"


def test_the_longer_of_two_secrets_is_masked_whole():
    assert SecretMask(["12345678", "1234567890"]).text("x1234567890") == "x***"


LETTERS = st.characters(exclude_characters="*")


@given(st.text(LETTERS, min_size=4, max_size=20), st.text(LETTERS, max_size=20), st.text(LETTERS, max_size=20))
def test_no_text_keeps_a_secret(secret, before, after):
    assert secret not in SecretMask([secret]).text(before + secret + after)


def test_details_are_fields_for_programs_and_left_to_the_sentence_for_people():
    programs, people = io.StringIO(), io.StringIO()
    for stream, form in ((programs, "json"), (people, "human")):
        configure_logs(LogSettings(format=form), [], stream)
        structlog.get_logger("here").info("cycles 10", meter="*", details={"cycles": 10})
    assert json.loads(lines(programs)[0])["cycles"] == 10
    assert "details" not in programs.getvalue() + people.getvalue()
    assert "cycles=" not in people.getvalue()


@pytest.mark.parametrize(
    "shown", ["0011223344556677889AABBCCDDEEFF0", "00 11 22 33 44 55 66 77 88 9a ab bc cd de ef f0", "0011223344556677889aabbccddeeff0"]
)
@pytest.mark.parametrize("key", ["0011223344556677889AABBCCDDEEFF0", "00 11 22 33 44 55 66 77 88 9a ab bc cd de ef f0"])
def test_a_key_is_masked_however_its_bytes_are_written(key, shown):
    assert SecretMask([key]).text(f"key {shown}!") == "key ***!"
