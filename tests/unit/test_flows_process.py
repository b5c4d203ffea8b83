from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import structlog

from flows.process import explain_fatal_errors, keep_web_server_off, pipeline_file, refuse, stop_on_signals
from model.errors import ConfigurationError, OwnershipError, Problem
from model.stop import Stop


@pytest.fixture
def restored_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_variable_selects_the_file(monkeypatch):
    monkeypatch.setenv("PIPELINE", "other.yaml")
    assert pipeline_file() == Path("other.yaml")


def test_without_it_the_file_here_goes_before_the_one_of_the_project(monkeypatch, tmp_path):
    monkeypatch.delenv("PIPELINE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert pipeline_file() == Path(__file__).parents[2] / "pipeline.yaml"
    (tmp_path / "pipeline.yaml").touch()
    assert pipeline_file() == Path("pipeline.yaml")


def test_a_configuration_with_mistakes_ends_with_exit_code_2(capsys):
    error = ConfigurationError([Problem("pipeline.yaml", 3, "it is wrong", "mend it")])
    with pytest.raises(SystemExit) as caught:
        refuse(error)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "the configuration has 1 problem:\n  pipeline.yaml:3: it is wrong\n    -> mend it\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop(restored_signals, number):
    stop = Stop()
    stop_on_signals(stop)
    assert not stop.requested()
    os.kill(os.getpid(), number)
    assert stop.requested()


def test_a_second_interrupt_is_not_held_back(restored_signals):
    stop_on_signals(Stop())
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_the_web_server_stays_off_and_the_log_says_so(value):
    environment = {"BYTEWAX_DATAFLOW_API_ENABLED": value, "HOME": "/"}
    with structlog.testing.capture_logs() as events:
        keep_web_server_off(environment)
    assert environment == {"HOME": "/"}
    assert [event["log_level"] for event in events] == ["warning"]
    with structlog.testing.capture_logs() as events:
        keep_web_server_off(environment)
    assert events == []


def test_our_errors_are_explained_and_others_keep_their_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    explain_fatal_errors()
    engine_error = RuntimeError("error calling build_part")
    engine_error.__cause__ = OwnershipError("another process owns it", "stop that one")
    with structlog.testing.capture_logs() as events:
        sys.excepthook(RuntimeError, engine_error, None)
    (event,) = events
    assert (event["log_level"], event["error"], event["remedy"]) == ("critical", "another process owns it", "stop that one")
    assert capsys.readouterr().err == ""
    sys.excepthook(ValueError, ValueError("a defect"), None)
    assert "ValueError: a defect" in capsys.readouterr().err
