"""The page over a running pipeline and the real API, with faults injected: what the reader is told, and that it is over when it is over."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.browser.browser import PHONE, VIEWS, Visit
from tests.browser.dashboard_process import DashboardProcess
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import NODES, TOKEN, PipelineProcess, pipeline
from tests.torture.rival import Rival

WINDOW = 3
QUICK = {"exchange_timeout": "500ms", "backoff_min": "200ms", "backoff_max": "1s", "reconnect_pause": "100ms"}
GAPPED = "gapped"
"""A meter that answers but has recorded nothing since yesterday: its gap stays open, however often it is asked."""

DEADLINE = 60_000

pytestmark = pytest.mark.timeout(240)


@dataclass
class Installation:
    """Everything that runs."""

    meters: BackgroundMeters
    server: BackgroundStandIn
    flow: PipelineProcess
    address: str

    def query(self, sql: str, *arguments: object) -> list[Any]:
        if not self.flow.archive.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.flow.archive}?mode=ro", uri=True)) as archive:
            try:
                return archive.execute(sql, arguments).fetchall()
            except sqlite3.OperationalError:  # not made yet
                return []


def configuration(url: str, meters: dict[str, str]) -> dict[str, Any]:
    described = pipeline(url, [], 0.5)
    five = described["templates"]["five"]
    profile = {"obis": "1-0:99.1.0", "horizon": "2d", "chunk": "1d", "every": "2s"}
    described["templates"][GAPPED] = {**five, "profiles": {"load": profile}}
    described["meters"] = [
        {"id": name, "connect": address, "template": GAPPED if name == GAPPED else "five", **QUICK} for name, address in meters.items()
    ]
    described["nodes"] = [nodes(node) for node in NODES]
    return described


def nodes(node: dict[str, Any]) -> dict[str, Any]:
    more = {"health": ["meters.gaps"], "archive": ["meters.gaps", "receipts.alerts"], "thingsboard": ["receipts.alerts"]}
    changed = {**node, "inputs": [*node["inputs"], *more[node["id"]]]} if node["id"] in more else dict(node)
    if node["id"] == "health":
        changed["settings"] = {"window": f"{WINDOW}s", "wait": "1s"}
    return changed


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("installation")
    yesterday = float((time.time() - 86_400) // 900 * 900)
    with BackgroundMeters() as meters, BackgroundStandIn([Account("gateway", TOKEN, gateway=True)]) as server:
        addresses = {name: meters.start(MeterConfig(name), Behaviour()) for name in ("good", "quiet", GAPPED)}
        behaviour = meters.behaviour(GAPPED)
        behaviour.power_fail_period, behaviour.power_fail_length = yesterday, 1e6
        with (
            PipelineProcess(folder, configuration(server.address, addresses)) as flow,
            DashboardProcess(folder) as dashboard,
        ):
            running = Installation(meters, server, flow, dashboard.address)
            wait_for(lambda: running.query("SELECT 1 FROM reports LIMIT 1") or ended(flow), "the first report", 60)
            yield running


def ended(flow: PipelineProcess) -> bool:
    """Never true: fails with the log of a flow that has ended."""
    assert flow.processes[0].poll() is None, flow.log.read_text()
    return False


def test_a_gap_appears_and_closes(chromium: Browser, installation: Installation) -> None:
    with Visit(chromium, installation.address) as visit:
        page = visit.go(f"#/meters/{GAPPED}")
        expect(page.locator(".gap-state.open").first).to_be_visible(timeout=DEADLINE)
        expect(page.locator(".day.part, .day.none").first).to_be_attached()
        installation.meters.behaviour(GAPPED).power_fail_period = 0.0  # the rows are there after all
        expect(page.locator(".gap-state.open")).to_have_count(0, timeout=DEADLINE)
        assert not page.locator(".gap-state.lost").count()
        assert visit.problems == []


def test_a_silenced_meter_turns_red_within_two_windows_and_recovers(chromium: Browser, installation: Installation) -> None:
    with Visit(chromium, installation.address) as visit:
        page = visit.go("#/meters?search=quiet")
        row = page.locator("tbody tr")
        expect(row.locator(".state.green")).to_be_visible(timeout=DEADLINE)
        last = "SELECT max(\"end\") FROM reports WHERE meter = 'quiet' AND ok > 0"
        installation.meters.behaviour("quiet").silent = True
        expect(row.locator(".state.red")).to_be_visible(timeout=DEADLINE)
        expect(row).to_contain_text("timeout")
        # Of the windows after the last good cycle the second one at the latest is the first that is red.
        ((good,),) = installation.query(last)
        ((first_red,),) = installation.query(
            "SELECT min(\"end\") FROM reports WHERE meter = 'quiet' AND start >= ? AND ok + partial = 0", good
        )
        assert first_red - good <= 2 * WINDOW * 1000
        page.click("#tabs a[data-view=flow]")
        expect(page.locator("[data-tile=meters] .tile-detail")).to_contain_text("failed")
        installation.meters.behaviour("quiet").silent = False
        page.go_back()
        expect(page.locator("tbody tr .state.green")).to_be_visible(timeout=DEADLINE)
        assert visit.problems == []


def test_every_view_of_a_running_pipeline(chromium: Browser, installation: Installation) -> None:
    with Visit(chromium, installation.address, "es", PHONE, "dark") as visit:
        for route in (*(f"#/{view}" for view in VIEWS), "#/meters/good?key=voltage&span=24h", "#/flow?node=checked"):
            page = visit.go(route)
            expect(page.locator("main .loading")).to_have_count(0)
            expect(page.locator("main .notice.critical")).to_have_count(0)
            expect(page.locator("#banners .banner")).to_have_count(0)
        expect(page.locator(".node[data-id=thingsboard][data-state=green]")).to_be_visible(timeout=DEADLINE)
        expect(page.locator(".wire-flow.moving").first).to_be_attached(timeout=DEADLINE)
        page.click("#tabs a[data-view=configuration]")
        expect(page.locator("table.lines")).to_contain_text("templates:")
        assert TOKEN not in page.content()
        page.click("#tabs a[data-view=session]")
        expect(page.locator("main")).to_contain_text(f"pid {installation.flow.processes[0].pid}")
        assert visit.problems == []


def test_a_takeover_shows_its_cause_and_what_to_do(chromium: Browser, installation: Installation) -> None:
    with Visit(chromium, installation.address) as visit:
        page = visit.go("#/session")
        expect(page.locator("main")).to_contain_text("Connected", timeout=DEADLINE)
        with Rival(installation.server.port, "5", (1.0, 2.0), token=TOKEN):
            end = page.locator("table.ends tr[data-cause=taken-over]").first
            expect(end).to_contain_text("another client connected with the same device's credentials", timeout=DEADLINE)
            expect(end).to_contain_text("142 (0x8E)")
            expect(end).to_contain_text("Find the other client")
            page.click("#tabs a[data-view=alarms]")
            alarm = page.locator(".alarm.critical", has_text="Trouble with the ThingsBoard session")
            expect(alarm).to_contain_text("another client connected", timeout=DEADLINE)
        assert visit.problems == []


def test_a_pipeline_that_ends_is_told(chromium: Browser, installation: Installation) -> None:
    with Visit(chromium, installation.address) as visit:
        page = visit.go("#/meters")
        expect(page.locator("tbody .state.green").first).to_be_visible(timeout=DEADLINE)
        installation.flow.kill()
        expect(page.locator("#banners")).to_contain_text("The pipeline is not running", timeout=DEADLINE)
        expect(page.locator("#verdict")).to_have_text("Critical")
        expect(page.locator("tbody .state.green")).to_have_count(0)
        installation.flow.start()
        expect(page.locator("#banners .banner")).to_have_count(0, timeout=DEADLINE)
        expect(page.locator("tbody .state.green").first).to_be_visible(timeout=DEADLINE)
        assert visit.problems == []
