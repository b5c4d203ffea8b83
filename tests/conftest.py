"""Options of the whole suite."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("any-machine", deadline=None)  # how long something takes is for bench/, never for a verdict
settings.load_profile("any-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the torture tests at full length (minutes each)")
    parser.addoption("--torture-seed", type=int, default=4, help="seed of what happens in the torture tests")
    parser.addoption("--write-tables", action="store_true", help="write the tables that tests produce into docs/")


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether full length was asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def torture_seed(request: pytest.FixtureRequest) -> int:
    """The seed of what happens in the torture tests; another one is another story."""
    return int(request.config.getoption("--torture-seed"))


@pytest.fixture(scope="session")
def write_tables(request: pytest.FixtureRequest) -> bool:
    """Whether the tables in docs/ shall be written anew."""
    return bool(request.config.getoption("--write-tables"))
