"""The page for those who use no mouse, no colours, a small window or a screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser import PHONE, VIEWS, Visit, check
from tests.browser.canned import Canned

ROUTES = [*(f"#/{view}" for view in VIEWS), "#/flow?node=checked", "#/meters/m-00000"]
FOCUSED = (
    "(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || document.activeElement.id || '').trim()"
)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with Canned() as canned:
        yield canned.address


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    with Visit(chromium, address) as visit:
        yield visit.page
        assert visit.problems == []


def opened(page: Page, address: str, route: str) -> None:
    page.goto("about:blank")
    page.goto(f"{address}/{route}")
    page.wait_for_selector("main h1")
    expect(page.locator("main .loading")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_has_a_name_an_order_and_contrast(page: Page, address: str, theme: str) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    for route in ROUTES:
        opened(page, address, route)
        assert check(page, "unnamed") == [], route
        levels = check(page, "headings")
        assert levels.count(1) == 1, (route, levels)
        assert all(after <= before + 1 for before, after in pairwise(levels)), (route, levels)
        assert check(page, "doubledIds") == [], route
        assert check(page, "tablesWithoutHeaders") == [], route
        assert check(page, "lowContrast") == [], route
        for landmark in ("header", "nav", "main", "footer"):
            assert page.locator(landmark).count() >= 1, (route, landmark)
    assert page.locator("#tabs a[aria-current=page]").count() == 1


def test_states_are_told_by_shape_and_word_too(page: Page, address: str) -> None:
    opened(page, address, "#/meters")
    drawings = check(page, "stateDrawings")
    assert set(drawings) == {"OK", "Attention", "Failed", "Unknown"}
    assert len(set(drawings.values())) == 4


def test_everything_is_reached_by_keyboard_and_nothing_traps(page: Page, address: str) -> None:
    opened(page, address, "#/flow")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUSED) == "Flow"
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate(FOCUSED))
        if page.evaluate("document.activeElement === document.body"):
            break
    else:
        pytest.fail(f"Tab never leaves the page: {seen}")
    assert {"Larger", "Smaller", "Fit to the width", "The flow as a table"} <= seen
    assert any(name.startswith("meters, dlms-in: Attention") for name in seen)


def test_arrow_keys_lead_along_the_wires_and_enter_opens_a_node(page: Page, address: str) -> None:
    opened(page, address, "#/flow")
    page.focus(".node[data-id=meters]")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.id") == "checked"
    page.keyboard.press("Enter")
    expect(page.locator(".node-details h2")).to_contain_text("checked")
    assert "node=checked" in page.url
    page.keyboard.press("Escape")
    expect(page.locator(".node-details")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.id") == "mapped"
    assert page.locator(".node[tabindex='0']").count() == 1


def test_sorting_filtering_and_opening_a_meter_by_keyboard(page: Page, address: str) -> None:
    opened(page, address, "#/meters")
    page.focus("th button:has-text('Success')")
    page.keyboard.press("Enter")
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Success")
    assert page.evaluate(FOCUSED).startswith("Success")  # it stays where it was
    page.focus(".chips input:checked")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".chip:has(:checked)")).to_contain_text("OK")
    page.focus("tbody tr:first-child a")
    page.keyboard.press("Enter")
    expect(page.locator(".crumbs")).to_be_visible()
    assert page.evaluate("document.activeElement.tagName") == "H1"


def test_where_the_focus_is_can_be_seen(page: Page, address: str) -> None:
    for route in ("#/flow", "#/meters", "#/meters/m-00000"):
        opened(page, address, route)
        for _ in range(20):
            page.keyboard.press("Tab")
            assert check(page, "focusIsVisible"), (route, page.evaluate("document.activeElement.outerHTML"))


def test_a_phone_shows_rows_as_cards_that_are_still_a_table(chromium: Browser, address: str) -> None:
    with Visit(chromium, address, size=PHONE, has_touch=True) as visit:
        opened(visit.page, address, "#/meters")
        expect(visit.page.locator("tbody tr")).to_have_count(25)
        assert visit.page.get_by_role("table").get_by_role("row").count() >= 25
        assert visit.page.locator("tbody tr").first.bounding_box()["width"] <= PHONE[0]  # type: ignore[index]
        assert check(visit.page, "smallTargets") == []
        assert visit.problems == []


def test_nothing_moves_for_those_who_want_it_still(chromium: Browser, address: str) -> None:
    with Visit(chromium, address, reduced_motion="reduce") as visit:
        opened(visit.page, address, "#/flow")
        visit.page.wait_for_selector(".node")
        assert visit.page.evaluate("document.getAnimations().length") == 0
