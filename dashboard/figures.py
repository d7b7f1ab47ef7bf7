"""Numbers with their unit, and on hover where they come from and how far off they may be."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.tables import Cell

ORIGINS = {
    "measured": "measured on this GPU with this model",
    "interpolated": "interpolated between measurements",
    "extrapolated": "extrapolated beyond what was measured",
    "roofline": "from datasheets alone, nothing measured",
    "given": "given in the spec",
}
"""Where a number may come from, in words."""


def wall(most_columns: int = 3) -> DeltaGenerator:
    """A place for several figures: side by side as far as there is room."""
    return st.grid(most_columns, min_column_width=150, gap="xsmall")


def figure(label: str, value: str, about: str, delta: str | None = None, delta_color: str = "inverse") -> None:
    """One large number. ``value`` carries its unit; ``about`` is shown on hover: origin, error, what it means."""
    st.metric(label, value, delta, help=about, border=True, height="stretch", delta_color=delta_color)  # type: ignore[arg-type]


def hover(meaning: str, origin: str = "", relative_error: float | None = None, num_measurements: int = 0) -> str:
    """What is shown on hover: meaning (with its unit), origin, half-width of the 90% interval, rows behind it."""
    parts = [meaning]
    if origin:
        parts.append(ORIGINS.get(origin, origin))
    if relative_error is not None:
        parts.append(f"90% of such predictions are within ±{relative_error:.0%}")
    if num_measurements:
        parts.append(f"from {num_measurements:,} measurements")
    return "; ".join(part.rstrip(".") for part in parts) + "."


def cell(
    value: str, meaning: str, origin: str = "", relative_error: float | None = None, num_measurements: int = 0
) -> Cell:
    """A number in a table, with what ``hover`` says."""
    return Cell(value, hover(meaning, origin, relative_error, num_measurements))


def usd(amount: float | None, per: str = "") -> str:
    """Dollars: cents below a hundred, none above. ``per``: h, month ..."""
    if amount is None:
        return "–"
    sign = "−" if amount < 0 else ""
    text = f"{sign}${abs(amount):,.2f}" if abs(amount) < 100 else f"{sign}${abs(amount):,.0f}"
    return f"{text}/{per}" if per else text


def watts(power_w: float | None) -> str:
    """Power in W, kW or MW."""
    if power_w is None:
        return "–"
    for factor, unit in ((1e6, "MW"), (1e3, "kW")):
        if abs(power_w) >= factor:
            return f"{power_w / factor:,.3g} {unit}"
    return f"{power_w:,.3g} W"


def milliseconds(time_ms: float | None) -> str:
    """Time in ms, in s from ten seconds on."""
    if time_ms is None:
        return "–"
    if time_ms >= 1e6:
        return f"{time_ms / 1000:,.0f} s"
    return f"{time_ms / 1000:,.3g} s" if time_ms >= 10_000 else f"{time_ms:,.4g} ms"


def percent(share: float | None, digits: int = 0) -> str:
    """A share as a percentage."""
    return "–" if share is None else f"{share:.{digits}%}"
