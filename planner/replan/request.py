"""What is asked of a night: as the command line, the service and its queue say it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import Field

from planner.replan.service import EARLIEST, LATEST, ServiceName
from planner.types import Frozen, SolveOptions

FIRST_DAY, LAST_DAY = EARLIEST.date(), LATEST.date()
"""That can be planned: demand is known from then on, and until then."""

Day = Annotated[dt.date, Field(ge=FIRST_DAY, le=LAST_DAY)]


class ReplanOptions(Frozen):
    """How to plan a night. ``again``: decide anew what is decided. ``dry_run``: change nothing, not even facts."""

    again: bool = False
    dry_run: bool = False
    solve: SolveOptions = SolveOptions(time_limit_s=60.0)


class ReplanRequest(Frozen):
    """Plan saved services for a day."""

    date: Day | None = Field(default=None, description="None: today (UTC)")
    services: Annotated[tuple[ServiceName, ...], Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="None: all"
    )
    options: ReplanOptions = ReplanOptions()


class ReplanJob(ReplanRequest):
    """A request as it lies in the queue: whose it is, and every service that was saved when it came."""

    services: tuple[ServiceName, ...] | None = None
    actor: str = Field(default="job", description="as the audit log names them")


def limit_s(request: ReplanJob) -> float:
    """After how long it must have ended: a fresh plan, the busiest hour's, and what they are compared with, each
    within the solve's limit, and a minute for reading and forecasting, for every service.
    """
    return (4 * request.options.solve.time_limit_s + 60) * len(request.services or ("all",))
