"""Options of the whole suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the torture tests at full length (minutes each)")


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether full length was asked for."""
    return bool(request.config.getoption("--long"))
