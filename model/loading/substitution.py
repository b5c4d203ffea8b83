"""Values from the environment, put into a document before it is checked.

`${VAR}` is the variable, `${VAR:-default}` the default where it is unset or empty, `${VAR:?message}` says what to do
where it is, `$$` is a dollar sign; any other `$` stays as it is. Defaults may hold further `${...}`. A value that is
one `${...}` from end to end is typed as if it were written in the file, so that ${PORT:-5} is a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from model.errors import Problem
from model.loading.document import Document, Location, typed

_EXPRESSION = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?$", re.DOTALL)


class SubstitutionError(ValueError):
    """A `${...}` that has no value: what is wrong and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def substitute(document: Document, part: Location, environment: Mapping[str, str]) -> tuple[list[Problem], frozenset[Location]]:
    """Replace every `${...}` in the values of `part` of `document`; give the problems and where values are still missing.

    To be called once for a part: what comes from the environment is not looked at again.
    """
    problems = []
    missing = set()
    for location, value in list(document.scalars(part)):
        if not isinstance(value, str) or "$" not in value:
            continue
        try:
            text = expand(value, environment)
        except SubstitutionError as error:
            place = document.values.get(location) or document.place(location)
            problems.append(Problem(place.file, place.line, error.what, error.remedy))
            missing.add(location)
            continue
        replacement = typed(text) if _is_one_expression(value) else text
        document.set(location, replacement)
        if not isinstance(replacement, str):
            document.as_written[location] = text
    return problems, frozenset(missing)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`text` with its `${...}` and `$$` replaced.

    :raises SubstitutionError: when a variable is missing or an expression cannot be understood.
    """
    pieces = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        pieces.append(text[position:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "{":
            end = _closing_brace(text, dollar + 2)
            pieces.append(_value(text[dollar + 2 : end], environment))
            position = end + 1
        else:
            pieces.append("$")
            position = dollar + (2 if following == "$" else 1)
    return "".join(pieces) + text[position:]


def _value(expression: str, environment: Mapping[str, str]) -> str:
    match = _EXPRESSION.match(expression)
    if match is None:
        raise SubstitutionError(
            f"${{{expression}}} cannot be understood", "write ${VAR}, ${VAR:-default} or ${VAR:?message}; a literal $ before { is $$"
        )
    name, operator, rest = match.groups()
    value = environment.get(name, "")
    if value:
        return value
    if operator == "-":
        return expand(rest, environment)
    state = "empty" if name in environment else "not set"
    remedy = f"set it before the start (export {name}=...), or give a default: ${{{name}:-...}}"
    if operator == "?" and rest:
        remedy = rest
    raise SubstitutionError(f"the environment variable {name} is {state}", remedy)


def _closing_brace(text: str, start: int) -> int:
    depth = 1
    for index in range(start, len(text)):
        if text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
        elif text.startswith("${", index):
            depth += 1
    raise SubstitutionError("a ${ without its closing }", "write ${VAR}; a literal $ before { is $$")


def _is_one_expression(text: str) -> bool:
    return text.startswith("${") and text.endswith("}") and _closing_brace(text, 2) == len(text) - 1
