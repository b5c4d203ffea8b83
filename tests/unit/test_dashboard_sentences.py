"""The flow's sentences in Spanish: the catalogue has all of them, its holes agree, and the page's own code finds them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from connectors.dlms.push.troubles import SEVERITIES
from connectors.thingsboard import ending
from connectors.thingsboard.ending import Ending
from flows.registry import OWN_NODE_TYPES, NodeTypes
from model.messages import FLEET, ErrorKind, Violation
from operators import alert_gaps, alert_rules, alert_security
from tests.sentences import HOLE, NOT_SHOWN, ROOT, everything, said

STATIC = ROOT / "dashboard" / "static"
FOLDER = STATIC / "i18n" / "es"
NODE = shutil.which("node")
WITHOUT = "node is missing, which runs the page's code here: apt-get install nodejs"
A_HOLE = re.compile(r"(?<!\$)\{([#*@]?)(\w+)\}")


def pairs(file: Path) -> list[tuple[str, str]]:
    """The entries of one file, also those that JSON would drop because their key comes twice."""
    return list(json.loads(file.read_text(), object_pairs_hook=list))


TOPICS = {file.stem: pairs(file) for file in sorted(FOLDER.glob("*.json"))}
ENTRIES = dict(chain.from_iterable(TOPICS.values()))


def translated(texts: list[str]) -> list[list[tuple[str, bool | None]]]:
    """The parts of each text as the page shows them: words, and whether they were translated (None: data)."""
    if NODE is None:
        pytest.skip(WITHOUT)
    asked = {"source": (STATIC / "js" / "catalogue.js").read_text(), "entries": ENTRIES, "texts": texts}
    done = subprocess.run(
        [NODE, str(ROOT / "tests" / "translate.mjs")], input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=60
    )
    return [[(part["text"], part["translated"]) for part in parts] for parts in json.loads(done.stdout)]


def words(parts: list[tuple[str, bool | None]]) -> str:
    return "".join(text if done is not False else f"[{text}]" for text, done in parts)


def example(form: str) -> str:
    """A sentence of the source with something in its holes; what a last hole only appends is left out."""
    bare = re.sub(r"(?<=[\w)}])\{\}$", "", form).strip(" ;:,")
    return (bare if bare.count("(") == bare.count(")") else bare.strip("()")).replace(HOLE, "7")


FORMS = "\n".join(A_HOLE.sub(HOLE, english) for english in ENTRIES)


def is_part(form: str) -> bool:
    """Whether it is put into a sentence that is there as a whole."""
    part = re.sub(r"^[\s;:,.()]*(\{\}[\s;:,.()]+)*|([\s;:,.()]*\{\}|[\s;:,.()])*$", "", form)
    return bool(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", FORMS))


def test_every_topic_is_loaded_by_the_page() -> None:
    (named,) = re.findall(r"const TOPICS = \[([^\]]*)\]", (STATIC / "js" / "i18n.js").read_text())
    assert re.findall(r'"(\w+)"', named) == list(TOPICS)


def test_no_sentence_is_there_twice() -> None:
    counted = Counter(english for entries in TOPICS.values() for english, _ in entries)
    assert [english for english, count in counted.items() if count > 1] == []


def test_both_sides_have_the_same_holes() -> None:
    for english, spanish in ENTRIES.items():
        assert sorted(A_HOLE.findall(english)) == sorted(A_HOLE.findall(spanish)), english
        assert len(set(A_HOLE.findall(english))) == len(A_HOLE.findall(english)), f"a name comes twice: {english}"
        assert re.search(r"\}\{", english) is None, f"two holes without anything between them: {english}"
        assert spanish.strip() == spanish != "", english


@pytest.mark.parametrize(
    ("before", "after", "before_es", "after_es"),
    [
        ("", "", "", ""),
        ("timeout: ", "", "sin respuesta a tiempo: ", ""),
        ("", "; no interval is missing", "", "; no falta ningún intervalo"),
        ("no interval is missing; ", " (and 3 more)", "no falta ningún intervalo; ", " (y 3 más)"),
    ],
    ids=["alone", "behind a label", "before another", "explained"],
)
def test_every_template_finds_itself_and_none_takes_what_is_anothers(before: str, after: str, before_es: str, after_es: str) -> None:
    entries = {english: spanish for english, spanish in ENTRIES.items() if not (before and english.startswith("{*"))}
    given = [f"{before}{filled(english)}{after}" for english in entries]
    wanted = [f"{before_es}{filled(spanish)}{after_es}" for spanish in entries.values()]
    assert [(text, got) for text, got, due in zip(given, map(words, translated(given)), wanted, strict=True) if got != due] == []


def filled(template: str) -> str:
    return A_HOLE.sub(lambda hole: {"#": "42", "@": "word"}.get(hole[1], f"<{hole[2]}>"), template)


def test_every_sentence_of_the_source_is_in_the_catalogue() -> None:
    found = said()
    assert len(found) > 500
    shown = translated([example(each.form) for each in found])
    english = [each for each, parts in zip(found, shown, strict=True) if any(done is False for _, done in parts)]
    missing = "\n".join(str(each) for each in english if not is_part(each.form))
    assert not missing, (
        "this reaches a Spanish reader in English. Add each to a file of dashboard/static/i18n/es/, as"
        ' "English with {holes}": "Spanish with the same {holes}" ({#n} for a number, {*why} for what is a sentence itself);'
        f" what is never shown belongs to NOT_SHOWN in tests/sentences.py, with the reason:\n{missing}"
    )


def test_what_is_excused_is_there() -> None:
    there = {each.file for each in everything()} | {f"{each.file}:{each.form}" for each in everything()}
    assert [name for name in NOT_SHOWN if name not in there] == []


def test_the_names_that_stand_in_sentences_are_there() -> None:
    names = [kind.value for kind in ErrorKind]
    names += [violation.value for violation in Violation] + [f"{{#n}} {violation.value}" for violation in Violation]
    names += [value.name for value in vars(ending).values() if isinstance(value, Ending)]
    names += [value for kinds in (alert_rules, alert_gaps, alert_security) for name, value in vars(kinds).items() if is_kind(name, value)]
    names += [*SEVERITIES, "connecting", "backing-off", "closed"]
    names += [node.summary for node in NodeTypes(OWN_NODE_TYPES, []).usable().values()]
    assert [name for name in names if name not in ENTRIES] == []


def is_kind(name: str, value: object) -> bool:
    """Whether a constant of a module with rules is a kind of alert."""
    return name.isupper() and not name.startswith("_") and isinstance(value, str) and value != FLEET


COMPOSED = {
    "meter-silent since 2026-11-24 17:50:07 UTC: no good reading for 10 min (last: never); last error: timeout: no reply to a GET request,"
    " sent 2 times in 4.0 s; 12 bytes did arrive but were no answer, the last because: frame I S=1 R=2 was not expected (and 3 more)": (
        "un medidor calla desde 2026-11-24 17:50:07 UTC: ninguna lectura buena desde hace 10 min (la última: nunca); último error:"
        " sin respuesta a tiempo: sin respuesta a una petición GET, enviada 2 veces en 4.0 s; llegaron 12 bytes, pero no eran una"
        " respuesta, los últimos porque: la trama I S=1 R=2 no se esperaba (y 3 más)"
    ),
    "the connection broke without a reason (3 times in 12 s: 12:00:00 UTC after 1.9 s, 12:00:03 UTC after 1.2 s; reason code 0x8e;"
    " server tb.example.org:1883; this is client dlms-1, pid 12 on host rack)": (
        "la conexión se cortó sin motivo (3 veces en 12 s: 12:00:00 UTC tras 1.9 s, 12:00:03 UTC tras 1.2 s; código de motivo 0x8e;"
        " servidor tb.example.org:1883; este es el cliente dlms-1, pid 12 en el equipo rack)"
    ),
    "900 of 1000 cycles published (90.5 %): 20 failed at the meters, 80 read but not acknowledged by ThingsBoard": (
        "900 de 1000 ciclos publicados (90.5 %): 20 fallaron en los medidores, 80 leídos pero sin acuse de ThingsBoard"
    ),
    "127.0.0.1:1883: [Errno 111] Connection refused": "127.0.0.1:1883: [Errno 111] conexión rechazada",
    "the meter's clock is 2.5 h behind": "el reloj del medidor va atrasado 2.5 h",
    "not connected to mqtt://tb:1883 since 2026-11-24 17:40:07 UTC, backing-off: tls, no TLS connection could be made": (
        "sin conexión con mqtt://tb:1883 desde 2026-11-24 17:40:07 UTC, en espera para reconectar: sin TLS, no se pudo establecer una"
        " conexión TLS"
    ),
    "/o.sqlite cannot be believed; readings wait in memory": "[/o.sqlite cannot be believed]; las lecturas esperan en memoria",
    "cannot connect to tcp://m:3333: the moon is in the way": "no se puede conectar con tcp://m:3333: [the moon is in the way]",
    "profile 1-0:99.1.0: attribute 2: read-write-denied": "curva 1-0:99.1.0: atributo 2: read-write-denied",
    "pipeline.yaml:6: template basic: interval: 'ten seconds' is not a duration": (
        "pipeline.yaml:6: plantilla basic: interval: 'ten seconds' no es una duración"
    ),
    "pipeline.yaml:6: node more: meters 'a' and 'b' are already read by meters": (
        "pipeline.yaml:6: nodo more: medidores 'a' y 'b' ya se leen en meters"
    ),
    "access: read-write-denied (counter)": "acceso denegado: read-write-denied (counter)",
    "timeout: no association within 30 s (session)": "sin respuesta a tiempo: sin asociación en 30 s (session)",
    "nobody knows this sentence (nor this); nor that": "[nobody knows this sentence (nor this); nor that]",
    "((((": "((((",
    "a (b; no interval is missing": "[a (b; no interval is missing]",
    "": "",
    "; ; : , ": "; ; : , ",
}


def test_sentences_are_translated_part_by_part() -> None:
    assert dict(zip(COMPOSED, map(words, translated(list(COMPOSED))), strict=True)) == COMPOSED


def test_every_mistake_of_a_configuration_that_the_tests_know_is_said_in_spanish() -> None:
    lines = [line.strip() for file in sorted((ROOT / "tests" / "cases").glob("*/error.txt")) for line in file.read_text().splitlines()]
    problems = sorted({line.removeprefix("-> ") for line in lines if not line.startswith("the configuration has")})
    assert len(problems) > 150
    shown = zip(problems, translated(problems), strict=True)
    english = {line: "".join(text for text, done in parts if done is False) for line, parts in shown if any(p is False for _, p in parts)}
    assert set(english.values()) == {"copy it from the device in ThingsBoard", "did not find expected key (while parsing a block mapping)"}


def test_what_nobody_foresaw_ends_and_stays_as_it_is() -> None:
    strange = [
        "last error: " * 300,
        "(" * 3000 + ")" * 900,
        "a: " * 1200,
        "no reply to " * 300 + "; " * 100,
        "x (y) " * 600,
        ", " * 1900,
        "z" * 100_000,
    ]
    for text, parts in zip(strange, translated(strange), strict=True):
        assert parts, text[:40]
        assert len(words(parts)) >= len(text) // 2
