"""Shares in percent, for reports, logs and alerts."""

from __future__ import annotations

from decimal import Decimal


def percent(part: int, whole: int) -> Decimal | None:
    """`part` of `whole` with one digit, rounded down, so that 100.0 means all; None of nothing."""
    return Decimal(part * 1000 // whole).scaleb(-1) if whole else None


def percent_text(part: int, whole: int) -> str:
    """The same in words: "98.7 %", "100 %", "-" of nothing."""
    share = percent(part, whole)
    if share is None:
        return "-"
    return f"{share:.0f} %" if share == share.to_integral_value() else f"{share} %"
