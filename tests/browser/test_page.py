"""The page by itself, with answers that a test chooses: what it shows, what it says when there is no news, and that text stays text."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser import DESKTOP, PHONE, VIEWS, Visit, check
from tests.browser.canned import EVIL, STATIC, Canned, at, meter
from tests.browser.dashboard_process import DashboardProcess

ROUTES = [*(f"#/{view}" for view in VIEWS), "#/flow?node=checked", "#/meters/m-00000", "#/alarms?standing=false"]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def canned() -> Iterator[Canned]:
    with Canned() as canned:
        yield canned


@pytest.fixture
def visit(chromium: Browser, canned: Canned) -> Iterator[Visit]:
    with Visit(chromium, canned.address) as visit:
        yield visit


def shown(visit: Visit) -> str:
    """The words of the main part, once its content is there."""
    expect(visit.page.locator("main .loading")).to_have_count(0)
    return visit.text("main")


@pytest.mark.parametrize(("language", "size", "scheme"), [("en", DESKTOP, "light"), ("es", PHONE, "dark")])
def test_every_view_opens_by_its_address_without_a_complaint(
    chromium: Browser, canned: Canned, language: str, size: tuple[int, int], scheme: str
) -> None:
    with Visit(chromium, canned.address, language, size, scheme) as visit:
        headings = []
        for route in ROUTES:
            visit.go(route)
            shown(visit)
            headings.append(visit.text("main h1"))
            assert visit.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), route
            assert visit.page.get_attribute("html", "lang") == language
        assert (
            headings[:5]
            == {
                "en": ["Flow", "Meters", "Alarms", "Session", "Configuration"],
                "es": ["Flujo", "Medidores", "Alarmas", "Sesión", "Configuración"],
            }[language]
        )
        assert visit.problems == []


def test_what_meters_and_servers_say_stays_text(visit: Visit) -> None:
    for route in [*(f"#/{view}" for view in VIEWS), "#/flow?node=checked", f"#/meters/{EVIL.replace(' ', '%20')}"]:
        visit.go(route)
        assert EVIL in shown(visit), route
        assert visit.page.evaluate("window.hurt") is None
        assert visit.page.locator("main img").count() == 0
    assert visit.text("main h1") == EVIL
    assert visit.problems == []


def test_every_word_comes_from_the_dictionary(visit: Visit, canned: Canned, tmp_path: Path) -> None:
    """A language whose texts are all in brackets: what stands outside them was written into the code."""
    canned.static = tmp_path / "static"
    shutil.copytree(STATIC, canned.static)
    texts = json.loads((STATIC / "i18n" / "en.json").read_text())
    (canned.static / "i18n" / "en.json").write_text(json.dumps({key: f"⟦{text}⟧" for key, text in texts.items()}))
    for route in ROUTES:
        visit.go(route)
        shown(visit)
        loose = check(visit.page, "looseWords")
        units = re.compile(r"^[\W\d]*(ms|sec|min|hr|day|days|AM|PM|in|ago|mqtt|[\W\d])*$")
        assert [text for text in loose if not units.match(text)] == [], route


def test_nothing_is_green_when_there_is_no_news(visit: Visit, canned: Canned) -> None:
    page = visit.go("#/meters")
    expect(page.locator("tbody [data-state=green] .state.green").first).to_be_visible()
    expect(page.locator("#verdict")).to_have_text("Healthy")
    canned.lost = True
    expect(page.locator("#banners")).to_contain_text("No news from the dashboard since")
    expect(page.locator("#verdict")).to_have_text("Unknown")
    expect(page.locator("tbody .state.green, tbody tr[data-state=green]")).to_have_count(0)
    page.click("#tabs a[data-view=flow]")
    expect(page.locator("#banners")).to_be_visible()
    expect(page.locator(".tile[data-state=green], .node[data-state=green]")).to_have_count(0)
    canned.lost = False
    expect(page.locator("#banners .banner")).to_have_count(0)
    expect(page.locator("#verdict")).to_have_text("Healthy")
    expect(page.locator(".node[data-state=green]").first).to_be_visible()


def test_a_pipeline_that_stopped_is_said_on_every_view_and_shows_no_green(visit: Visit, canned: Canned) -> None:
    canned.overview["flow"] = {"running": False, "started": None, "processes": [{"process": 0, "pid": 1, "host": "h", "written": at(500)}]}
    for route in ("#/flow", "#/meters", "#/session", "#/meters/m-00000"):
        page = visit.go(route)
        expect(page.locator("#banners")).to_contain_text("The pipeline is not running: its last sign of life is from")
        expect(page.locator("#verdict")).to_have_text("Critical")
        shown(visit)
        expect(page.locator("main .state.green:not(.over *), .tile[data-state=green], .node[data-state=green]")).to_have_count(0)


def test_reports_that_stay_away_are_said(visit: Visit, canned: Canned) -> None:
    canned.overview["window"].update(start=at(610), end=at(600))
    page = visit.go("#/flow")
    expect(page.locator("#banners .warning")).to_contain_text("its last report is from")


def test_an_api_that_refuses_is_said_with_a_way_to_try_again(visit: Visit, canned: Canned) -> None:
    for path, route in (("/meters", "#/meters"), ("/flow", "#/flow"), ("/alarms", "#/alarms"), ("/config", "#/configuration")):
        before = canned.answers.get(path)
        canned.answers[path] = 503
        page = visit.go(route)
        expect(page.locator(".notice.critical")).to_contain_text(EVIL)
        del canned.answers[path]
        if before:
            canned.answers[path] = before
        page.click(".notice.critical button")
        expect(page.locator(".notice.critical")).to_have_count(0)


def test_empty_places_say_why(visit: Visit, canned: Canned) -> None:
    canned.meters = []
    canned.answers.update({"/flow": {"running": False, "nodes": []}, "/alarms": {"alarms": []}, "/config": {"file": "f", "text": ""}})
    canned.overview.update(session=None, outbox=None, window=None)
    said = {"#/flow": "No nodes", "#/meters": "No meters", "#/alarms": "No alarm stands", "#/session": "Nobody has the session"}
    for route, words in {**said, "#/configuration": "The file is empty", "#/meters/none": "No such meter"}.items():
        page = visit.go(route)
        expect(page.locator("main")).to_contain_text(words)


def test_each_of_several_sessions_is_shown_and_none_is_well_without_an_owner(visit: Visit, canned: Canned) -> None:
    first = canned.overview["session"]
    second = {**first, "name": "south", "state": "up", "ends": [{**first["ends"][0], "at": at(30), "cause": "refused-credentials"}]}
    waits = {"waiting": 7, "exact": True, "oldest": at(4), "dead": 0, "acknowledged": at(1), "session": "south"}
    canned.overview.update(session=None, sessions=[{**first, "name": "north"}, second], sessions_without_owner=["west"], outboxes=[waits])
    page = visit.go("#/flow")
    expect(page.locator("[data-tile=session] .tile-value")).to_have_text("2 of 3")
    expect(page.locator("[data-tile=session][data-state=unknown]")).to_have_count(1)
    page = visit.go("#/session")
    expect(page.locator("main .columns > .card:first-child > h2")).to_have_text(["Session north", "Session south", "Session west"])
    expect(page.locator("main .columns").nth(1)).to_contain_text("7")
    expect(page.locator("main .columns").nth(2)).to_contain_text("Nobody has the session")
    expect(page.locator("table.ends tbody tr").first).to_contain_text("south")
    second["state"] = "backing-off"
    page = visit.go("#/flow")
    expect(page.locator("[data-tile=session][data-state=red]")).to_have_count(1)
    expect(page.locator("[data-tile=session] .tile-value")).to_have_text("1 of 3")
    assert visit.problems == []


def test_meters_are_searched_sorted_filtered_and_paged_by_the_server(visit: Visit, canned: Canned) -> None:
    canned.meters = [meter(number) for number in range(10_000)]
    page = visit.go("#/meters")
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.locator(".count")).to_have_text("1–50 of 10,000")
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Meter▲")
    page.click("th button:has-text('Read time')")
    page.click("th button:has-text('Read time')")
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Read time")
    expect(page.locator("tbody tr").first).to_contain_text("m-09999")
    page.click("nav.pages [data-go=last]")
    expect(page.locator(".count")).to_have_text("9,951–10,000 of 10,000")
    page.fill("#search", "m-0123")
    expect(page.locator("tbody tr")).to_have_count(10)
    assert "search=m-0123" in page.url
    page.fill("#search", "")
    page.click(".chip:has-text('Failed')")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("m-00002")
    page.reload()  # the address says all of it
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Read time")
    assert all("limit=50" in asked for asked in canned.asked if asked.startswith("/meters?"))
    assert visit.problems == []


def test_the_chart_asks_for_key_and_span_and_remembers_them_in_the_address(visit: Visit, canned: Canned) -> None:
    page = visit.go("#/meters/m-00000")
    expect(page.locator(".plot canvas")).to_be_visible()
    expect(page.locator(".chart .hint")).to_contain_text("voltage: 50 points, from 230 to 234 V")
    page.select_option("#chart-key", "energy")
    page.click(".chart .chip:has-text('7 d')")
    expect(page.locator(".chart .hint")).to_contain_text("energy:")
    assert "key=energy" in page.url
    assert "span=7d" in page.url
    assert "key=energy" in canned.asked[-1] or any("key=energy" in asked for asked in canned.asked)
    assert visit.problems == []


def test_language_and_colours_are_remembered(visit: Visit) -> None:
    page = visit.go("#/session")
    page.select_option("#language", "es")
    expect(page.locator("main h1")).to_have_text("Sesión")
    expect(page.locator("table.ends")).to_contain_text("Desalojada: otro cliente se conectó")
    expect(page.locator("table.ends")).to_contain_text("142 (0x8E)")
    page.select_option("#theme", "dark")
    assert page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor") == "rgb(16, 21, 28)"
    page.reload()
    expect(page.locator("main h1")).to_have_text("Sesión")
    assert page.get_attribute("html", "data-theme") == "dark"
    assert visit.problems == []


def test_a_token_is_asked_for_where_one_is_needed(chromium: Browser, tmp_path: Path) -> None:
    token = "a-token-of-thirty-two-characters"
    (tmp_path / "pipeline.yaml").write_text("meters: []\n")
    with DashboardProcess(tmp_path, token) as dashboard, Visit(chromium, dashboard.address) as visit:
        page = visit.page
        page.goto(dashboard.address)
        sign_in(page, "not the token at all")
        expect(page.locator("[role=alert]")).not_to_be_empty()
        sign_in(page, token)
        expect(page.locator("main h1")).to_have_text("Flow")
        cookie = next(cookie for cookie in page.context.cookies())
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        page.context.clear_cookies()  # it has run out
        page.click("#tabs a[data-view=alarms]")
        expect(page.locator("main form h1")).to_have_text("Sign in")
        sign_in(page, "not the token at all")
        expect(page.locator("main [role=alert]")).to_contain_text("not the one")
        sign_in(page, token)
        expect(page.locator("main h1")).to_have_text("Alarms")
        assert [problem for problem in visit.problems if "401" not in problem] == []


def sign_in(page: Page, token: str) -> None:
    page.fill("input[type=password]", token)
    page.press("input[type=password]", "Enter")


def test_news_comes_by_the_stream_and_by_asking_where_there_is_none(visit: Visit, canned: Canned) -> None:
    page = visit.go("#/flow")
    waiting = page.locator("[data-tile=outbox] .tile-value")
    canned.overview["outbox"]["waiting"] = 43
    expect(waiting).to_have_text("43")
    canned.streaming = False
    canned.overview["outbox"]["waiting"] = 77
    expect(waiting).to_have_text("77")
    expect(page.locator("#banners .banner")).to_have_count(0)
    assert "/overview" in canned.asked
