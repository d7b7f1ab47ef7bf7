"""Where every expert of a mixture-of-experts model should be: balanced, near, robust, cheap to change."""

from planner.experts.plan import ExpertsPlan
from planner.experts.spec import ExpertsSpec
from planner.lazy import lazily
from planner.types import Planner

PLANNER: Planner[ExpertsSpec, ExpertsPlan] = Planner(
    kind="experts",
    question="Which GPU should hold which experts, and which experts deserve another copy?",
    spec_type=ExpertsSpec,
    plan_type=ExpertsPlan,
    load=lazily("planner.experts.load", "load"),
    solve=lazily("planner.experts.solve", "solve"),
    check=lazily("planner.experts.check", "check"),
    view=lazily("planner.experts.view", "view"),
)

__all__ = ["PLANNER", "ExpertsPlan", "ExpertsSpec"]
