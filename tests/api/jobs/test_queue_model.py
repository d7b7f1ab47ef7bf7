"""The queue against a model of it: whatever is done in whatever order, both agree on what becomes of each job."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from api.jobs import queue
from api.jobs.types import FINAL, Claim, Held
from planner.errors import Conflict
from profiles import db

MOST_ATTEMPTS = 3


@dataclass
class Modelled:
    """What should be true of a job."""

    state: str = "queued"
    lease: str | None = None
    attempts: int = 0
    beat: int = 0
    cancelled: bool = False

    def leave(self, state: str) -> None:
        self.state, self.lease = state, None


class QueueMachine(RuleBasedStateMachine):
    jobs = Bundle("jobs")
    claims = Bundle("claims")
    sights = Bundle("sights")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.engine = db.initialise(f"sqlite:///{Path(self.directory.name) / 'store.db'}")
        self.model: dict[str, Modelled] = {}

    def teardown(self) -> None:
        self.engine.dispose()
        self.directory.cleanup()

    @rule(target=jobs)
    def submit(self) -> str:
        name = queue.submit(self.engine, "plan", {}, "ann", most_queued=1000).id
        self.model[name] = Modelled()
        return name

    @rule(target=claims, worker=st.sampled_from("ab"))
    def claim(self, worker: str) -> Claim | None:
        claim = queue.claim(self.engine, worker)
        waiting = sorted(name for name, job in self.model.items() if job.state == "queued")
        assert (claim.job.id if claim else None) == (waiting[0] if waiting else None)
        if claim:
            job = self.model[claim.job.id]
            job.state, job.lease, job.attempts = "running", claim.lease, job.attempts + 1
        return claim

    def holds(self, claim: Claim | None) -> Modelled | None:
        """The job as modelled, where this claim still holds it."""
        job = self.model[claim.job.id] if claim else None
        return job if job and claim and job.lease == claim.lease else None

    @rule(claim=claims)
    def beat(self, claim: Claim | None) -> None:
        if claim:
            job = self.holds(claim)
            expected = "lost" if job is None else "cancel" if job.cancelled else "go on"
            assert queue.beat(self.engine, claim, 0.5, "x") == expected
            if job:
                job.beat += 1

    @rule(claim=claims, how=st.sampled_from(["finish", "fail", "stop", "give_back", "again"]))
    def end(self, claim: Claim | None, how: str) -> None:
        if claim is None:
            return
        job = self.holds(claim)
        if how == "again":
            left = queue.again(self.engine, claim, MOST_ATTEMPTS, {"title": "no"})
        elif how == "fail":
            left = queue.fail(self.engine, claim, {"title": "no"})
        else:
            left = getattr(queue, how)(self.engine, claim)
        if job is None:
            assert left is None
            return
        if how in ("give_back", "again") and job.cancelled:
            expected = "cancelled"
        else:
            expected = {"finish": "done", "fail": "failed", "stop": "cancelled", "give_back": "queued",
                        "again": "queued" if job.attempts < MOST_ATTEMPTS else "failed"}[how]  # fmt: skip
        job.attempts -= how == "give_back"
        job.leave(expected)
        assert left == expected

    @precondition(lambda self: any(job.state == "running" for job in self.model.values()))
    @rule(target=sights, data=st.data())
    def look(self, data: st.DataObject) -> Held:
        held = queue.running(self.engine)
        assert {one.id: (one.lease, one.beat) for one in held} == {
            name: (job.lease, job.beat) for name, job in self.model.items() if job.state == "running"
        }
        return data.draw(st.sampled_from(held))

    @rule(held=consumes(sights))
    def take_away(self, held: Held) -> None:
        job = self.model[held.id]
        left = queue.take_away(self.engine, held, MOST_ATTEMPTS, "it died")
        if (job.lease, job.beat) != (held.lease, held.beat):
            assert left is None
            return
        job.leave("cancelled" if job.cancelled else "queued" if job.attempts < MOST_ATTEMPTS else "failed")
        assert left == job.state

    @rule(name=jobs)
    def cancel(self, name: str) -> None:
        job = self.model[name]
        try:
            queue.cancel(self.engine, name)
        except Conflict:
            assert job.state in FINAL
            return
        assert job.state not in FINAL
        job.cancelled = True
        if job.state == "queued":
            job.leave("cancelled")

    @invariant()
    def agree(self) -> None:
        found = {name: status.state for name, status in queue.states(self.engine, list(self.model)).items()}
        assert found == {name: job.state for name, job in self.model.items()}


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
