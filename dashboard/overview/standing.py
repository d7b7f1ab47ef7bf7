"""How saved services stand: what each runs now, what that costs, and what was decided last."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from dashboard import figures
from dashboard.client import Client, Document
from dashboard.figures import cell
from dashboard.tables import Row

MOST_SERVICES = 100
"""Services that one overview holds: it reads the last decision of each."""

READ_AT_ONCE = 8
"""Decisions that are asked for at the same time."""

DAYS_PER_MONTH = 365 / 12

DECISIONS = {
    "keep": "what runs goes on",
    "change": "another plan saves enough",
    "forced_change": "what ran could not go on",
    "first_plan": "nothing ran before",
    "infeasible": "nothing meets the request; what runs goes on",
    "failed": "nothing was decided",
}
"""What a night may decide."""


@dataclass(frozen=True)
class Standing:
    """A saved service (as ``GET /v1/services`` gives it) and its last decision, where there is one."""

    saved: Document
    decision: Document | None

    @property
    def name(self) -> str:
        """Of the service."""
        return str(self.saved["name"])


@dataclass(frozen=True)
class Money:
    """Of one service in US dollars a month of 30.4 days; None: not known."""

    usd_per_month: float | None
    saved_usd_per_month: float | None


def read(client: Client) -> list[Standing]:
    """The first ``MOST_SERVICES`` services by name, each with its last decision."""
    services = client.get("/v1/services", limit=MOST_SERVICES)["services"]

    def last(name: str) -> Document | None:
        decisions = client.get(f"/v1/services/{name}/decisions", limit=1)["decisions"]
        return decisions[0] if decisions else None

    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        decisions = list(pool.map(last, [service["name"] for service in services]))
    return [Standing(service, decision) for service, decision in zip(services, decisions, strict=True)]


def money(standing: Standing) -> Money:
    """What the service costs by its last decision, and what it would cost more with one plan for the busiest hour."""
    report = standing.decision
    if report is None or not report["hours"]:
        return Money(None, None)
    changed = report["decision"] in ("change", "forced_change", "first_plan")
    usd = report["usd_plan"] if changed else report["usd_keep"]
    if usd is None:
        usd = sum(hour["usd"] for hour in report["hours"])
    months = report["horizon_days"] / DAYS_PER_MONTH
    static = report["usd_static_peak"]
    return Money(usd / months, None if static is None else (static - usd) / months)


def total(amounts: Iterable[float | None]) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def fleet_now(saved: Document, now: dt.datetime) -> list[Document]:
    """The instances that run at a moment, by the service's own clock."""
    running = saved["running"]
    if running is None:
        return []
    local = now.astimezone(ZoneInfo(saved["service"]["time_zone"]))
    days = (local.date() - dt.date.fromisoformat(running["since"])).days
    hours = running["hours"]
    fleet: list[Document] = running["plans"][hours[(days * 24 + local.hour) % len(hours)]]["fleet"]
    return fleet


def in_words(fleet: Sequence[Document]) -> str:
    """A fleet as people write it: ``2 × g6.xlarge, 1 × p5.48xlarge (spot)``."""
    num: Counter[tuple[str, str]] = Counter()
    for one in fleet:
        num[one["instance_type"], one["market"]] += one["instances"]
    words = [f"{n} × {kind}" + ("" if market == "on_demand" else f" ({market})") for (kind, market), n in num.items()]
    return ", ".join(words) or "nothing"


def rows(standings: Sequence[Standing], now: dt.datetime) -> list[Row]:
    """The table of services."""
    return [_row(standing, now) for standing in standings]


ABOUT = {
    "runs now": "instances of this hour, as the last decision has them",
    "cost": "a month of days like the planned one, at the prices of that night, starts included",
    "saved": "a month, against one plan for the busiest hour that runs all day",
    "last decision": "of which day, and what",
}


def _row(standing: Standing, now: dt.datetime) -> Row:
    spent, report = money(standing), standing.decision
    rests = "" if report is None else f"; planned for the p{100 * report['quantile']:g} of the forecast"
    return {
        "service": standing.name,
        "runs now": in_words(fleet_now(standing.saved, now)),
        "cost": cell(figures.usd(spent.usd_per_month, "month"), f"{ABOUT['cost']}{rests}"),
        "saved": cell(figures.usd(spent.saved_usd_per_month, "month"), ABOUT["saved"]),
        "last decision": "none yet" if report is None else cell(
            f"{report['date']}: {report['decision'].replace('_', ' ')}", DECISIONS.get(report["decision"], "")),
    }  # fmt: skip
