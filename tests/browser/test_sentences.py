"""What the flow says in sentences, on the Spanish page: translated where the catalogue has it, marked as English where not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browser import Visit
from tests.browser.canned import STATIC, Canned, alarms

SILENT = (
    "no good reading for 10 min (last: 2026-11-24 17:40:07 UTC); last error: connect: cannot connect to tcp://192.0.2.1:3333:"
    " Connection refused"
)
SILENT_ES = (
    "ninguna lectura buena desde hace 10 min (la última: 2026-11-24 17:40:07 UTC); último error: sin conexión: no se puede conectar"
    " con tcp://192.0.2.1:3333: conexión rechazada"
)
REMEDY = "check the link's address and port, power and network of the converter, and that no other program is connected"
REMEDY_ES = "revise la dirección y el puerto del enlace, la alimentación y la red del conversor, y que no haya otro programa conectado"
HALF = "cannot connect to tcp://192.0.2.1:3333: the moon is in the way"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def canned() -> Iterator[Canned]:
    with Canned() as canned:
        canned.answers["/alarms"] = {"alarms": [{**alarms()[1], "evidence": SILENT, "remedy": REMEDY}]}
        canned.answers["/health"] = {
            "verdict": "critical",
            "findings": [
                {
                    "severity": "critical",
                    "subject": "m-00002",
                    "what": f"meter-silent since 2026-11-24 17:50:07 UTC: {SILENT}",
                    "remedy": REMEDY,
                },
                {"severity": "minor", "subject": "outbox", "what": "ThingsBoard refused 2 records for good", "remedy": HALF},
            ],
        }
        yield canned


def test_alarms_and_findings_speak_spanish_and_keep_the_words_of_the_log(chromium: Browser, canned: Canned) -> None:
    with Visit(chromium, canned.address, "es") as visit:
        page = visit.go("#/alarms")
        evidence = page.locator(".alarm .evidence")
        expect(evidence).to_have_text(SILENT_ES)
        expect(evidence).to_have_attribute("lang", "es")
        expect(evidence).to_have_attribute("title", SILENT)
        expect(page.locator(".alarm .remedy")).to_contain_text(REMEDY_ES)
        page.click(".alarm details summary")
        expect(page.locator(".alarm details p[lang=en]")).to_have_text([SILENT, REMEDY])
        page.click("#tabs a[data-view=flow]")
        first, second = page.locator(".finding").nth(0), page.locator(".finding").nth(1)
        expect(first).to_contain_text(f"un medidor calla desde 2026-11-24 17:50:07 UTC: {SILENT_ES} → {REMEDY_ES}")
        expect(second).to_contain_text("cola de salida: ThingsBoard rechazó 2 registros para siempre")
        expect(second.locator("[lang=es] [lang=en]")).to_have_text("the moon is in the way")
        page.select_option("#language", "en")
        expect(page.locator(".finding").first).to_contain_text(f"{SILENT} → {REMEDY}")
        expect(page.locator(".finding [lang=es]")).to_have_count(0)
        assert visit.problems == []


def test_without_its_catalogue_the_page_speaks_english_there(chromium: Browser, canned: Canned, tmp_path: Path) -> None:
    canned.static = tmp_path / "static"
    shutil.copytree(STATIC, canned.static)
    (canned.static / "i18n" / "es" / "alarms.json").write_text("{")
    with Visit(chromium, canned.address, "es") as visit:
        page = visit.go("#/alarms")
        expect(page.locator("main h1")).to_have_text("Alarmas")
        expect(page.locator(".alarm .remedy [lang=en]")).to_have_text(REMEDY)
