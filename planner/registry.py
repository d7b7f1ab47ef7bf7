"""The planners there are. A new one adds its record here and its types to the two unions."""

from __future__ import annotations

from typing import Any

from planner.errors import UnknownName
from planner.experts import PLANNER as EXPERTS
from planner.experts import ExpertsPlan, ExpertsSpec
from planner.power import PLANNER as POWER
from planner.power import PowerPlan, PowerSpec
from planner.serving import PLANNER as SERVING
from planner.serving import ServingPlan, ServingSpec
from planner.training import PLANNER as TRAINING
from planner.training import TrainingPlan, TrainingSpec
from planner.types import Planner

AnySpec = ServingSpec | ExpertsSpec | TrainingSpec | PowerSpec
AnyPlan = ServingPlan | ExpertsPlan | TrainingPlan | PowerPlan

PLANNERS: dict[str, Planner[Any, Any]] = {planner.kind: planner for planner in (SERVING, EXPERTS, TRAINING, POWER)}


def planner_for(kind: str) -> Planner[Any, Any]:
    """The planner of that kind; ``UnknownName`` where there is none."""
    if kind not in PLANNERS:
        raise UnknownName("planner", kind, PLANNERS, field="kind", fix=f"planners: {', '.join(PLANNERS)}")
    return PLANNERS[kind]
