"""Saved plans as the JSON that is sent: they never change, so the last ones read are kept in memory."""

from __future__ import annotations

import json
from collections import OrderedDict
from threading import Lock

from sqlalchemy import Engine

from planner import store

MOST_BYTES = 32 * 2**20
"""Kept in memory: a hundred large plans, or thousands of small ones."""


class PlanTexts:
    """The texts of the plans that were asked for last, by id; may be used by many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._texts: OrderedDict[str, bytes] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()

    def kept(self, plan_id: str) -> bytes | None:
        """The text, where it is in memory."""
        with self._lock:
            if plan_id in self._texts:
                self._texts.move_to_end(plan_id)
            return self._texts.get(plan_id)

    def read(self, plan_id: str) -> bytes:
        """The plan with its ``id``; raises what ``planner.store.load_plan`` raises."""
        if (text := self.kept(plan_id)) is not None:
            return text
        text = json.dumps({"id": plan_id, **store.load_plan(self._engine, plan_id).plan}, allow_nan=False).encode()
        with self._lock:
            if plan_id not in self._texts and len(text) <= MOST_BYTES:
                self._texts[plan_id] = text
                self._num_bytes += len(text)
            while self._num_bytes > MOST_BYTES:
                self._num_bytes -= len(self._texts.popitem(last=False)[1])
        return text
