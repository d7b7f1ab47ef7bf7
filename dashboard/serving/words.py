"""What parts of a plan are called on the page."""

from __future__ import annotations

from dashboard.client import Document

OBJECTIVE_UNITS = {"cost": "$/h", "power": "W", "carbon": "g CO2/h", "goodput": "requests/s"}
"""Units of a plan's ``objective``."""


def unit_name(unit: str, service: str = "") -> str:
    """A deployment unit in short: GPU, layout, precision, engine; without the offer, and its own service's name."""
    return unit.split(" @ ")[0].removeprefix(f"{service}/")


def place(row: Document) -> str:
    """Where an instance is rented."""
    if row["provider"] == "given":
        return "as given in the spec"
    market = "" if row["market"] == "on_demand" else f", {row['market']}"
    return f"{row['provider']} {row['region']} {row['instance_type']}{market}"
