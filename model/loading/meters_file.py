"""The file with more meters: CSV with one row per meter, or YAML with a list of them.

The header of a CSV names the settings of a meter (`id`, `connect`, ...) and its tags (`tag:NAME`); an empty cell
leaves the setting out. Cells are typed like scalars in YAML; a line that begins with # and an empty line are skipped.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from model.errors import Problem
from model.loading.document import Document, Place, read_text, read_yaml, typed
from model.loading.fields import keys_of
from model.loading.suggestion import suggest
from model.settings.meter import MeterSettings

_TAG = "tag:"
_NOT_IN_CSV = frozenset({"tags", "overrides"})


def read_meters_file(path: Path) -> tuple[Document, list[Problem]]:
    """The meters in `path` as a document whose data is a list, with its problems."""
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    document, problems = read_yaml(path)
    if isinstance(document.data, dict) and list(document.data) == ["meters"]:
        problems.append(Problem(document.file, 1, "the file must be a list of meters", "remove the line meters: and the indentation"))
    elif document.data is not None and not isinstance(document.data, list):
        problems.append(Problem(document.file, 1, "the file must be a list of meters", "begin every meter with - id: ..."))
    if not isinstance(document.data, list):
        document.data = []
    return document, problems


def _read_csv(path: Path) -> tuple[Document, list[Problem]]:
    document = Document(str(path), data=[])
    text, problems = read_text(path)
    if problems:
        return document, problems
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        while True:
            line = reader.line_num + 1
            try:
                cells = [cell.strip() for cell in next(reader)]
            except StopIteration:
                break
            if not any(cells) or cells[0].startswith("#"):
                continue
            if header is None:
                header = cells
                problems += _check_header(header, document.file, line)
                if problems:
                    break  # every row would repeat the same mistake
            else:
                problems += _check_row(header, cells, document.file, line)
                _add_row(document, header, cells, line)
    except csv.Error as error:
        remedy = 'put a cell that holds a comma or a quote in quotes, and write a quote inside as ""'
        problems.append(Problem(document.file, reader.line_num, f"not valid CSV: {error}", remedy))
    if header is None and not problems:
        problems.append(Problem(document.file, 1, "the file is empty", "begin with a header such as id,connect,template"))
    return document, problems


def _check_header(header: list[str], file: str, line: int) -> list[Problem]:
    known = set(keys_of(MeterSettings)) - _NOT_IN_CSV
    problems = []
    for index, column in enumerate(header):
        if column in header[:index]:
            problems.append(Problem(file, line, f"the column {column!r} is given twice", "remove one of them"))
        elif column in _NOT_IN_CSV:
            remedy = (
                "write one column tag:NAME per tag" if column == "tags" else "use a YAML list, or a template of its own, for these meters"
            )
            problems.append(Problem(file, line, f"{column!r} cannot be a column of a CSV file", remedy))
        elif not column.startswith(_TAG) and column not in known:
            separator = ";" in column or "\t" in column
            remedy = "separate the columns with commas" if separator else suggest(column, known, "columns")
            problems.append(Problem(file, line, f"unknown column {column!r}", remedy))
    return problems


def _check_row(header: list[str], cells: list[str], file: str, line: int) -> list[Problem]:
    if len(cells) <= len(header):
        return []
    what = f"the row has {len(cells)} cells, but the header has {len(header)} columns"
    return [Problem(file, line, what, "put a cell that holds a comma in quotes")]


def _add_row(document: Document, header: list[str], cells: list[str], line: int) -> None:
    index = len(document.data)
    place = Place(document.file, line)
    document.keys[(index,)] = place
    meter: dict[str, Any] = {}
    known = set(keys_of(MeterSettings)) - _NOT_IN_CSV
    for column, cell in zip(header, cells, strict=False):
        if not cell:
            continue
        if column.startswith(_TAG):
            meter.setdefault("tags", {})[column[len(_TAG) :]] = cell
        elif column in known:
            meter[column] = typed(cell)
            if not isinstance(meter[column], str):
                document.as_written[(index, column)] = cell
    document.data.append(meter)
