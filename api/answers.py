"""What the service answers, as it is documented. Plans are sent as they were saved, with their id."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from api.jobs.types import Job, JobKind, JobState, JobSummary
from api.pages import Page
from planner.experts import ExpertsPlan
from planner.power import PowerPlan
from planner.serving import ServingPlan
from planner.training import TrainingPlan
from planner.types import Check, Frozen

AS_IT_IS = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)
"""Of what holds texts of others: they are sent to the last space."""

ID = Field(description="of the saved plan: a digest of its content")


class SavedServingPlan(ServingPlan):
    """A serving plan that is saved."""

    id: str = ID


class SavedExpertsPlan(ExpertsPlan):
    """A placement of experts that is saved."""

    id: str = ID


class SavedTrainingPlan(TrainingPlan):
    """A training plan that is saved."""

    id: str = ID


class SavedPowerPlan(PowerPlan):
    """A power plan that is saved."""

    id: str = ID


SavedPlan = SavedServingPlan | SavedExpertsPlan | SavedTrainingPlan | SavedPowerPlan

PATHS: dict[JobKind, str] = {
    "plan": "/v1/plans", "simulation": "/v1/simulations", "sweep": "/v1/sweeps",
    "validation": "/v1/validations", "replan": "/v1/jobs", "deployment": "/v1/jobs",
}  # fmt: skip
"""Where the answer of a job of each kind is found, under its id."""


class JobProblem(Frozen):
    """Why a job failed."""

    title: str
    status: int
    detail: str
    field: str | None = None
    fix: str | None = None


class JobAnswer(Frozen):
    """How far a job is. Its answer is at ``url`` once it is done."""

    id: str
    kind: JobKind
    status: JobState
    url: str
    progress: float = Field(description="a share of 1")
    progress_label: str
    owner: str = Field(description="who asked, as the audit log names them")
    attempts: int
    request_id: str | None
    plan_id: str | None
    problem: JobProblem | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


class JobDetails(JobAnswer):
    """A job with what was asked and, where it is not a plan, what it found."""

    model_config = AS_IT_IS

    request: dict[str, JsonValue]
    result: dict[str, JsonValue] | None


class JobList(Page):
    """Jobs, newest first."""

    jobs: tuple[JobAnswer, ...]


class PlanEntry(Frozen):
    """A plan in a list."""

    id: str
    kind: str
    name: str | None
    spec_id: str
    outcome: str
    objective: float | None
    profile_digest: str
    created_at: dt.datetime
    url: str


class PlanList(Page):
    """Plans, newest first."""

    plans: tuple[PlanEntry, ...]


class PlanCheck(Check):
    """What the independent check found, against what the store knows now."""

    profile_digest: str


class Files(Frozen):
    """Rendered files: texts by name."""

    model_config = AS_IT_IS

    target: str
    files: dict[str, str]


class Found(Frozen):
    """What a replay or sweep found, as ``gpuplan simulate --json`` and ``gpuplan sweep --json`` print it."""

    model_config = ConfigDict(frozen=True, extra="allow", str_strip_whitespace=False)

    id: str
    kind: Literal["simulation", "sweep"]


def job_fields(job: JobSummary) -> dict[str, Any]:
    """What ``JobAnswer`` says of a job."""
    return {
        "id": job.id, "kind": job.kind, "status": job.state, "url": f"{PATHS[job.kind]}/{job.id}",
        "progress": job.progress, "progress_label": job.progress_label, "owner": job.owner, "attempts": job.attempts,
        "request_id": job.request_id, "plan_id": job.plan_id,
        "problem": None if job.problem is None else JobProblem.model_validate(job.problem),
        "created_at": job.created_at, "started_at": job.started_at, "finished_at": job.finished_at,
    }  # fmt: skip


def job_answer(job: JobSummary) -> JobAnswer:
    """How far a job is."""
    return JobAnswer(**job_fields(job))


def job_details(job: Job) -> JobDetails:
    """A job with its request and result."""
    return JobDetails(**job_fields(job), request=job.request, result=job.result)
