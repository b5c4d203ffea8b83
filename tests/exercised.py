"""What was read in tests, against which meter: rows of docs/exercised.md, which is generated from docs/exercised.json.

Rows about the virtual meter come from `tests/contract/test_exercised.py --write-tables`. Rows about meters and servers that
others wrote come from `python -m tests.exercised FILE`: FILE is a pipeline.yaml whose meters have a tag `peer`. Each of its
meters is read twice; only what was read without an error or a violation becomes a row.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import Session
from flows.registry import installed_node_types
from model.loading.load import load
from model.messages import Cycle, Outcome
from model.settings.meter import MeterSettings

DATA = Path(__file__).parents[1] / "docs" / "exercised.json"
TABLE = DATA.with_suffix(".md")
VIRTUAL = "virtual meter"

_HEAD = """# What was exercised

Made by tests, not by hand: every row was read twice without an error, and nothing that arrived had to be refused. Rows of the
virtual meter are read again with every test run; the other peers are not part of this project and were read when the row
was made (`tests/exercised.py` says how).

A row is a combination of how a meter is reached, framed, named and secured. `suite` and `policy` are those of the ciphered
association, `form` says whether services are ciphered one by one (glo-get-request ...) or in general-glo-ciphering, and
whether by the dedicated key.

| transport | framing | names | authentication | suite | policy | form | peers |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, order=True)
class Row:
    """One combination that was read from one peer."""

    transport: str
    framing: str
    names: str
    authentication: str
    suite: str
    policy: str
    form: str
    peer: str


def row_of(meter: MeterSettings, peer: str, transport: str = "") -> Row:
    """The row that a successful reading of `meter` is worth; `transport` where its address does not tell."""
    ciphered = meter.security_policy != "none"
    scheme = transport or meter.address.scheme + (", mode E" if meter.address.mode_e is not None else "")
    return Row(
        transport=scheme,
        framing=meter.framing,
        names="short" if meter.referencing == "short" else "logical",
        authentication=meter.authentication,
        suite=str(meter.security_suite) if ciphered or meter.authentication == "high-gmac" else "-",
        policy=meter.security_policy if ciphered else "-",
        form=(meter.ciphering + (", dedicated" if meter.dedicated_key else "")) if ciphered else "-",
        peer=peer,
    )


def known() -> set[Row]:
    """The rows that are written down."""
    return {Row(**row) for row in json.loads(DATA.read_text(encoding="utf-8"))} if DATA.exists() else set()


def write(rows: Iterable[Row]) -> None:
    """Write the rows down, and the table made from them."""
    ordered = sorted(rows)
    DATA.write_text(json.dumps([asdict(row) for row in ordered], indent=1) + "\n", encoding="utf-8")
    TABLE.write_text(rendered(ordered), encoding="utf-8")


def rendered(rows: Iterable[Row]) -> str:
    """The table: peers of one combination stand in one line."""
    peers: dict[tuple[str, ...], list[str]] = {}
    for row in sorted(rows):
        *combination, peer = asdict(row).values()
        peers.setdefault(tuple(combination), []).append(peer)
    return _HEAD + "".join(f"| {' | '.join(combination)} | {', '.join(names)} |\n" for combination, names in peers.items())


def is_flawless(cycles: Iterable[Cycle]) -> bool:
    """Whether everything asked for was read, and nothing that arrived was refused."""
    return all(cycle.outcome is Outcome.OK and not cycle.violations for cycle in cycles)


async def read_twice(meter: MeterSettings, reads: dict[str, object], address: str, state: Path) -> list[Cycle]:
    """Two cycles of a meter at `address`, then a release."""
    session = Session(meter, lambda _id, _connect: address, InvocationCounters(state / "counters.sqlite"))
    poll = MeterPoll(meter, plan_reads(reads), 60.0, session)  # type: ignore[arg-type]
    try:
        return [await poll.cycle(datetime.now(timezone.utc)) for _ in range(2)]
    finally:
        await poll.close()


def main(file: Path) -> int:
    """Read every meter of `file` and add what worked."""
    settings = load(file, installed_node_types()).settings
    failed = 0
    for meter in settings.meters:
        with tempfile.TemporaryDirectory() as state:
            cycles = asyncio.run(read_twice(meter, dict(settings.reads(meter)), meter.connect, Path(state)))
        if is_flawless(cycles):
            write(known() | {row_of(meter, meter.tags["peer"])})
        else:
            failed += 1
            print(f"{meter.id}: {[error for cycle in cycles for error in cycle.errors] or cycles[-1].violations}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
