"""Numbers for people."""

from __future__ import annotations


def figure(value: float) -> str:
    """Four significant digits with thousands marks, never in powers of ten: 0.01235, 12.35, 1,235, 12,346."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, as in "1 plan" and "2,000 plans"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
