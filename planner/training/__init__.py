"""Which degrees of parallelism train a model fastest or cheapest on a real cluster, and which rank runs where."""

from planner.lazy import lazily
from planner.training.plan import TrainingPlan
from planner.training.spec import TrainingSpec
from planner.types import Planner

PLANNER: Planner[TrainingSpec, TrainingPlan] = Planner(
    kind="training",
    question="Which parallel degrees, micro-batch and recomputation, and which rank on which GPU?",
    spec_type=TrainingSpec,
    plan_type=TrainingPlan,
    load=lazily("planner.training.load", "load"),
    solve=lazily("planner.training.solve", "solve"),
    check=lazily("planner.training.check", "check"),
    view=lazily("planner.training.view", "view"),
)

__all__ = ["PLANNER", "TrainingPlan", "TrainingSpec"]
