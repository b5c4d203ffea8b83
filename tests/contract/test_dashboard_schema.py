"""Whatever is asked that the schema allows, or nearly: a sentence or an answer of the promised shape, never a 500."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from dashboard.app import Api
from tests.contract.api_client import Client, Site, client_of

PATHS = ("/health", "/ready", "/metrics", "/overview", "/flow", "/meters", "/meters/{meter_id}", "/readings", "/alarms", "/gaps", "/config")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FEW, MANY = 12, 500
"""Examples per path, in the normal suite and with --long."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    site = Site(tmp_path_factory.mktemp("schema"))
    site.fill()
    site.run()
    with client_of(site) as client:
        yield client.api


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_one_that_the_schema_promises(api: Api, path: str, mode: GenerationMode, long: bool) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", api.application, headers={"host": "localhost"})
    operation = schema[path]["GET"]
    if mode is GenerationMode.NEGATIVE and not operation.query:  # any text may be the id of a meter
        pytest.skip("there is no wrong argument")

    @settings(
        max_examples=MANY if long else FEW,
        deadline=None,
        derandomize=not long,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"host": "localhost"}, checks=CHECKS)

    ask()


def test_the_schema_names_every_path_and_only_reading(api: Api) -> None:
    paths = Client(api).json("/openapi.json")["paths"]
    assert set(paths) == {*PATHS, "/events"}
    assert {method for path in paths.values() for method in path} == {"get"}
