"""Independent checks of saved plans: made in a process of their own, and remembered per plan and set of facts."""

from __future__ import annotations

from collections import OrderedDict

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.answers import PlanCheck
from api.apart import Apart
from api.plan_texts import PlanTexts

MOST_KEPT = 1000
"""Checks remembered: each is a few hundred bytes."""


class Checks:
    """The checks of one server process, used on its event loop."""

    def __init__(self, engine: Engine, texts: PlanTexts, apart: Apart) -> None:
        self._url = engine.url.render_as_string(hide_password=False)
        self._texts = texts
        self._apart = apart
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def read(self, plan_id: str, digest: str) -> bytes:
        """The check of a plan, as JSON; ``digest`` is of the facts as they are now."""
        key = (plan_id, digest)
        if key not in self._kept:
            text = await run_in_threadpool(self._texts.read, plan_id)
            self._kept[key] = await self._apart.run(_checked, self._url, text)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]


def _checked(url: str, text: bytes) -> bytes:
    from api.routers.plans import as_plan
    from planner.service import check_plan, facts_digest
    from profiles.db import connect

    engine = connect(url)
    found = check_plan(as_plan(text), engine)
    return PlanCheck(**dict(found), profile_digest=facts_digest(engine)).model_dump_json().encode()
