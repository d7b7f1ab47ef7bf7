"""What is asked of a night: as the command line, the service and its queue say it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import Field

from planner.replan.service import ServiceName
from planner.types import Frozen, SolveOptions


class ReplanOptions(Frozen):
    """How to plan a night. ``again``: decide anew what is decided. ``dry_run``: change nothing, not even facts."""

    again: bool = False
    dry_run: bool = False
    solve: SolveOptions = SolveOptions(time_limit_s=60.0)


class ReplanRequest(Frozen):
    """Plan saved services for a day."""

    date: dt.date | None = Field(default=None, description="None: today (UTC)")
    services: Annotated[tuple[ServiceName, ...], Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="None: all"
    )
    options: ReplanOptions = ReplanOptions()


def limit_s(request: ReplanRequest) -> float:
    """After how long it must have ended: a fresh plan, the busiest hour's, and what they are compared with, each
    within the solve's limit, and a minute for reading and forecasting, for every service.
    """
    return (4 * request.options.solve.time_limit_s + 60) * len(request.services or ("all",))
