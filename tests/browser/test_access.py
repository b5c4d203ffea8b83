"""The page for those who use no mouse, no colours, a small window or a screen reader."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser import PHONE, VIEWS, Visit
from tests.browser.canned import Canned

ROUTES = [*(f"#/{view}" for view in VIEWS), "#/flow?node=checked", "#/meters/m-00000"]
FOCUSED = "(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || document.activeElement.id || '').trim()"

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


UNNAMED = """() => {
  const named = (element) => element.getAttribute("aria-label")?.trim() || element.innerText?.trim() || element.labels?.[0]?.innerText.trim() || element.textContent.trim();
  return [...document.querySelectorAll("a, button, input, select, summary, [role=button], [role=img], [role=region], [role=group], nav, section[aria-label]")]
    .filter((element) => element.checkVisibility() && !named(element)).map((element) => element.outerHTML.slice(0, 200));
}"""

HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4")].filter((each) => each.checkVisibility()).map((each) => Number(each.tagName[1]))"""

DOUBLED = """() => { const ids = [...document.querySelectorAll("[id]")].map((each) => each.id); return ids.filter((id, place) => ids.indexOf(id) !== place); }"""

TABLES = """() => [...document.querySelectorAll("table:not([role=presentation])")].filter((table) => table.checkVisibility())
  .filter((table) => !table.classList.contains("u-legend") && ![...table.querySelectorAll("thead th")].every((cell) => cell.scope === "col" && cell.textContent.trim())).length"""

LOW_CONTRAST = """() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const channel = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const [r, g, b, a = 1] = number(getComputedStyle(each).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility() || element.closest("svg, noscript, :disabled, .visually-hidden, .u-legend")) continue;
    const style = getComputedStyle(element);
    const [light, dark] = [luminance(number(style.color)), luminance(ground(element))].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < (large ? 3 : 4.5)) poor.add(`${contrast.toFixed(2)} ${element.className || element.tagName}: ${walk.currentNode.data.trim().slice(0, 40)}`);
  }
  return [...poor];
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_has_a_name_an_order_and_contrast(page: Page, address: str, theme: str) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    for route in ROUTES:
        opened(page, address, route)
        assert page.evaluate(UNNAMED) == [], route
        levels = page.evaluate(HEADINGS)
        assert levels.count(1) == 1, (route, levels)
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False)), (route, levels)
        assert page.evaluate(DOUBLED) == [], route
        assert page.evaluate(TABLES) == 0, route
        assert page.evaluate(LOW_CONTRAST) == [], route
        for landmark in ("header", "nav", "main", "footer"):
            assert page.locator(landmark).count() >= 1, (route, landmark)
    assert page.locator("#tabs a[aria-current=page]").count() == 1


def test_states_are_told_by_shape_and_word_too(page: Page, address: str) -> None:
    opened(page, address, "#/meters")
    drawings = page.evaluate("""() => Object.fromEntries([...document.querySelectorAll("tbody .state")].map((each) => [each.innerText, each.querySelector("svg").innerHTML]))""")
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
    for route in ROUTES:
        opened(page, address, route)
        for _ in range(25):
            page.keyboard.press("Tab")
            visible = page.evaluate(
                """() => {
                  const element = document.activeElement;
                  const outlined = (each) => each && getComputedStyle(each).outlineStyle !== "none" && parseFloat(getComputedStyle(each).outlineWidth) >= 2;
                  const halo = element.querySelector(".node-halo");
                  return element === document.body || outlined(element) || outlined(element.closest(".chip")) || (halo && getComputedStyle(halo).stroke !== "none");
                }"""
            )
            assert visible, (route, page.evaluate("document.activeElement.outerHTML"))


def test_a_phone_shows_rows_as_cards_that_are_still_a_table(chromium: Browser, address: str) -> None:
    with Visit(chromium, address, size=PHONE, has_touch=True) as visit:
        opened(visit.page, address, "#/meters")
        expect(visit.page.locator("tbody tr")).to_have_count(25)
        assert visit.page.get_by_role("table").get_by_role("row").count() >= 25
        assert visit.page.locator("tbody tr").first.bounding_box()["width"] <= PHONE[0]  # type: ignore[index]
        small = visit.page.evaluate(
            """() => [...document.querySelectorAll("#tabs a, .chip, .button, select, input[type=search]")].filter((each) => each.checkVisibility())
              .filter((each) => each.getBoundingClientRect().height < 24).map((each) => each.outerHTML)"""
        )
        assert small == []  # WCAG 2.2, 2.5.8: 24 CSS pixels
        assert visit.problems == []


def test_nothing_moves_for_those_who_want_it_still(chromium: Browser, address: str) -> None:
    with Visit(chromium, address, reduced_motion="reduce") as visit:
        opened(visit.page, address, "#/flow")
        visit.page.wait_for_selector(".node")
        assert visit.page.evaluate("document.getAnimations().length") == 0
