"""Shares in the words of logs and alerts."""

from __future__ import annotations


def percent(part: int, whole: int) -> str:
    """`part` of `whole`, rounded down to a tenth, so that 100 % means all."""
    if not whole:
        return "-"
    tenths = part * 1000 // whole
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths / 10:.1f} %"
