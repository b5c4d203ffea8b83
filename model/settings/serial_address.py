"""The physical address of a meter where it follows from its serial number, by the maker's rule.

`serial` is the common rule, the last four digits. Other rules are written as a formula over SN, the digits at the end of
the serial number as one whole number, such as `SN % 10000 + 1000`; + - * / % and parentheses, where / drops the remainder.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

LAST_FOUR_DIGITS = "serial"
_LONGEST_FORMULA = 100
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def is_rule(text: str) -> bool:
    """Whether `text` is meant as a rule rather than as a number."""
    return text.strip() == LAST_FOUR_DIGITS or "SN" in text


def address_from_serial(rule: str, serial_number: str) -> int:
    """The physical address that `rule` makes of `serial_number`.

    :raises ValueError: when the rule is no formula, the serial number does not end in digits, or no station can have the
        address that comes out.
    """
    digits = re.search(r"[0-9]{1,30}$", serial_number.strip())
    if digits is None:
        raise ValueError(f"serial_number {serial_number!r} does not end in digits; write it as it is on the meter's plate")
    formula = "SN % 10000" if rule.strip() == LAST_FOUR_DIGITS else rule
    address = _evaluate(formula, int(digits.group()))
    if not 1 <= address <= 0x3FFD:
        raise ValueError(
            f"serial_number {serial_number!r} gives the physical address {address}, which no station has; write server_physical as a number"
        )
    return address


def _evaluate(formula: str, serial: int) -> int:
    try:
        if len(formula) > _LONGEST_FORMULA:
            raise SyntaxError
        return _value(ast.parse(formula.strip(), mode="eval").body, serial)
    except (SyntaxError, ZeroDivisionError, RecursionError, MemoryError):
        raise ValueError(
            f"{formula[:_LONGEST_FORMULA]!r} is no address rule; write serial, or a formula such as SN % 10000 + 1000"
        ) from None


def _value(node: ast.expr, serial: int) -> int:
    if isinstance(node, ast.Name) and node.id == "SN":
        return serial
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, serial), _value(node.right, serial))
    raise SyntaxError
