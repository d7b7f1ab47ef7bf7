"""The figures at the top: how many services, what they cost and save, and what the workers have to do."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard import figures
from dashboard.client import Client
from dashboard.overview.standing import MOST_SERVICES, Standing, money, total

MOST_COUNTED = 100
"""Jobs that are counted; more are said to be more."""


def show(client: Client, standings: Sequence[Standing]) -> None:
    """Four figures."""
    spent = [money(standing) for standing in standings]
    cost = total(one.usd_per_month for one in spent)
    saved = total(one.saved_usd_per_month for one in spent)
    num_known = sum(one.usd_per_month is not None for one in spent)
    with figures.wall(4):
        more = "+" if len(standings) == MOST_SERVICES else ""
        figures.figure("Services", f"{len(standings)}{more}", "saved services: each is planned again every night")
        figures.figure("Cost", figures.usd(cost, "month"), f"of {num_known} of {len(standings)} services: days like "
                       "the last planned one, 30.4 a month, at the prices of that night")  # fmt: skip
        figures.figure("Saved", figures.usd(saved, "month"), "against one plan for the busiest hour of each service, "
                       "running all day; both are planned for the same forecast")  # fmt: skip
        figures.figure("Jobs", f"{_count(client, 'running')} run, {_count(client, 'queued')} wait",
                       "plans, replays and nights that workers of this service do or will do")  # fmt: skip


def _count(client: Client, status: str) -> str:
    found = client.get("/v1/jobs", status=status, limit=MOST_COUNTED)
    return f"{len(found['jobs'])}{'+' if found['next_cursor'] else ''}"
