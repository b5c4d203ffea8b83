"""Node type `console-out`: the last value of every key of every meter, as a table on stdout.

Parallelism: all values go to one worker, so there is one table in the whole cluster. It is printed every `every` seconds
once something has come, and a last time at the end of the input. Nothing is in the snapshot, so after a restart the table
fills anew. Printing blocks the worker for as long as stdout does; if stdout is closed, the table ends and the flow goes on.

"published" is a tick when ThingsBoard has acknowledged a reading of the meter that is as new or newer.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TextIO, Union

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from pydantic import Field
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from model.messages import Reading, Receipt, Value
from model.node import BuildContext, NodeType, Ports
from model.settings.base import Duration
from model.settings.node import NodeSettings
from model.timestamps import utc_now

log = structlog.get_logger()

ConsoleInput = Union[Reading, Receipt]

_PLAIN_WIDTH = 80
_TICK = "✓"
_ONE_PLACE = "console"


class ConsoleSettings(NodeSettings):
    """Settings of a console-out node."""

    every: Duration = Field(default=10.0, ge=1, le=86400, description="Time from one table to the next.")
    rows: int = Field(default=40, ge=1, le=10_000, description="Most values shown.")


@dataclass(frozen=True, slots=True)
class ShownValue:
    """One row of the table."""

    reading: Reading
    published: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one table shows: the first `rows` values by meter and key, and how many more there are."""

    time: datetime
    values: tuple[ShownValue, ...]
    more: int


class LastValues:
    """The newest reading of every series and the newest acknowledged time of every meter."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, str], Reading] = {}
        self._acknowledged: dict[str, datetime] = {}

    def add(self, message: ConsoleInput) -> None:
        """Take a reading or a receipt; older ones than those known change nothing."""
        if isinstance(message, Receipt):
            known = self._acknowledged.get(message.meter)
            self._acknowledged[message.meter] = message.newest if known is None else max(known, message.newest)
            return
        series = (message.meter, message.key)
        last = self._readings.get(series)
        if last is None or message.ts >= last.ts:
            self._readings[series] = message

    def snapshot(self, time: datetime, rows: int) -> Snapshot:
        """The table as it is now."""
        shown = [self._readings[series] for series in sorted(self._readings)[:rows]]
        values = tuple(ShownValue(reading, self._is_published(reading)) for reading in shown)
        return Snapshot(time, values, len(self._readings) - len(shown))

    def _is_published(self, reading: Reading) -> bool:
        newest = self._acknowledged.get(reading.meter)
        return newest is not None and newest >= reading.ts


class TableLogic(StatefulBatchLogic[ConsoleInput, Snapshot, None]):
    """Collects values and emits a table every so often, and one at the end of the input."""

    def __init__(self, every: timedelta, rows: int, clock: Callable[[], datetime]) -> None:
        self._every = every
        self._rows = rows
        self._clock = clock
        self._values = LastValues()
        self._next = clock() + every

    def on_batch(self, values: list[ConsoleInput]) -> tuple[Iterable[Snapshot], bool]:
        """Take what came."""
        for message in values:
            self._values.add(message)
        self._next = min(self._next, self._clock() + self._every)  # the host's clock may have been set back
        return [], self.RETAIN

    def on_notify(self) -> tuple[Iterable[Snapshot], bool]:
        """Emit a table."""
        now = self._clock()
        self._next = now + self._every
        return [self._values.snapshot(now, self._rows)], self.RETAIN

    def on_eof(self) -> tuple[Iterable[Snapshot], bool]:
        """Emit the last table."""
        return [self._values.snapshot(self._clock(), self._rows)], self.RETAIN

    def notify_at(self) -> datetime:
        """When the next table is due."""
        return self._next

    def snapshot(self) -> None:
        """Nothing: the table fills anew."""
        return


def render(snapshot: Snapshot, width: int, encoding: str, color: bool) -> str:
    """The table as text, at most `width` columns wide, in characters that `encoding` has."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, color_system="standard" if color else None, legacy_windows=False)
    console.print(Text(_title(snapshot), style="bold"))
    console.print(_table(snapshot, _tick(encoding), max(0, width - _PLAIN_WIDTH) // 3))
    text = "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n\n"
    return text.encode(encoding, "replace").decode(encoding)


def _title(snapshot: Snapshot) -> str:
    more = f" ({snapshot.more} more not shown)" if snapshot.more else ""
    return f"last values at {snapshot.time:%Y-%m-%d %H:%M:%S} UTC{more}"


def _table(snapshot: Snapshot, tick: str, spare: int) -> Table:
    """The table; the three wide columns fit 80 columns together, each may be `spare` wider."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("meter", "key", "value", "unit", "time", "published"):
        table.add_column(name, justify="right" if name == "value" else "left", no_wrap=True)
    for row in snapshot.values:
        reading = row.reading
        cells = (
            _cut(reading.meter, 16 + spare),
            _cut(reading.key, 18 + spare),
            _cut(_value_text(reading.value), 12 + spare),
            _cut(reading.unit or "", 5),
            f"{reading.ts:%H:%M:%S}",
        )
        state = Text(tick, style="green") if row.published else Text("waiting", style="yellow")
        table.add_row(*(Text(cell) for cell in cells), state)
    return table


def _value_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) and -20 < value.adjusted() < 20 else str(value)


def _cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, without what could steer a terminal: a meter's strings are not ours."""
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return plain if cell_len(plain) <= width else set_cell_size(plain, width - 3) + "..."


def _tick(encoding: str) -> str:
    try:
        _TICK.encode(encoding)
    except UnicodeEncodeError:
        return "yes"
    return _TICK


class ConsolePartition(StatefulSinkPartition[Snapshot, None]):
    """Prints tables for as long as somebody reads them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def write_batch(self, values: list[Snapshot]) -> None:
        """Print the newest table; older ones of the same batch are history."""
        if self._stream is None or not values:
            return
        try:
            terminal = self._stream.isatty()
            width = shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns if terminal else _PLAIN_WIDTH
            self._stream.write(render(values[-1], width, self._stream.encoding or "ascii", terminal))
            self._stream.flush()
        except (OSError, ValueError) as error:
            log.warning("table is no longer printed: stdout is closed", error=str(error))
            self._stream = None

    def snapshot(self) -> None:
        """Nothing to remember."""
        return


class ConsoleSink(FixedPartitionedSink[Snapshot, None]):
    """Stdout of the process in which the engine places the one partition."""

    def list_parts(self) -> list[str]:
        """The one partition."""
        return [_ONE_PLACE]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> ConsolePartition:
        """Print to this process's stdout."""
        return ConsolePartition(sys.stdout)


def _one_key(item: tuple[str, ConsoleInput]) -> tuple[str, ConsoleInput]:
    return _ONE_PLACE, item[1]


@operator
def console_out(step_id: str, *ups: KeyedStream[Any], settings: ConsoleSettings) -> None:
    """Print a table of the last values every so often.

    :arg ups: streams of readings and receipts, keyed by meter.
    """
    every = timedelta(seconds=settings.every)
    one_key = op.map("one_key", op.merge("inputs", *ups), _one_key)
    tables = op.stateful_batch("table", one_key, lambda _: TableLogic(every, settings.rows, utc_now))
    op.output("print", tables, ConsoleSink())


def build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    """Add the node to the flow."""
    console_out(context.node_id, *inputs, settings=context.settings)
    return {}


NODE = NodeType(
    name="console-out",
    summary="Prints a table of the last values and whether ThingsBoard has them.",
    settings=ConsoleSettings,
    accepts=(Reading, Receipt),
    emits={},
    example="""\
- id: console
  type: console-out
  inputs: [checked, receipts]
  settings: {every: 10s, rows: 40}
""",
    build=build,
)
