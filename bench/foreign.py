"""`python -m bench.foreign tcp://127.0.0.1:15000 --count 200`: reading meters that somebody else wrote, beside the stock client.

The meters answer without authentication to client 16 at server address 1, at consecutive ports, and have the registers of
`prepared_replies`: a simulator with a template of ten of them will do. It shares the machine, so what it costs per reply bounds
everybody: the more the quicker the reader. Associations stay open on both sides.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Annotated
from urllib.parse import urlsplit

import structlog
import typer
from rich.console import Console

from bench.measure import side_by_side
from bench.prepared_replies import REGISTERS
from bench.reading import COUNT, OurReader
from bench.stock import StockMeter
from bench.tables import columns, table


def main(
    first: Annotated[str, typer.Argument(help="Address of the first meter, such as tcp://127.0.0.1:15000.")],
    count: Annotated[int, typer.Option(min=1, help="Meters of each contender; three times as many are needed.")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the stock client's pool.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Pairs of runs.")] = 5,
) -> None:
    """Read foreign meters with this project's client and with the stock one, in turn, and say how they compare."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    parts = urlsplit(first)
    assert parts.hostname is not None and parts.port is not None
    # Many meters take one connection at a time: each contender has some of its own.
    lists_at, single_at, stock_at = (
        [f"tcp://{parts.hostname}:{parts.port + place * count + number}" for number in range(count)] for place in range(3)
    )
    lines = []
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        ours = {
            "with-list": OurReader(lists_at, framing="hdlc"),
            "single GETs": OurReader(single_at, framing="hdlc", with_list=False),
        }
        stock = [StockMeter(address, REGISTERS[:COUNT]) for address in stock_at]
        for close in (*(reader.close for reader in ours.values()), *(meter.close for meter in stock)):
            stack.callback(close)
        for manner, reader in ours.items():
            name, rival = f"{count} foreign meters x {COUNT}, hdlc, {manner}", f"gurux client, {threads} threads"
            lines.append(columns(side_by_side(name, "registers", reader, rival, lambda: sum(pool.map(StockMeter.read, stock)), rounds)))
    Console(width=200).print(table(lines))


if __name__ == "__main__":
    typer.run(main)
