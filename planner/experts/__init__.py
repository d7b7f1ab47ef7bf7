"""Where every expert of a mixture-of-experts model should be: balanced, near, robust, cheap to change."""

from planner.experts.check import check
from planner.experts.load import load
from planner.experts.plan import ExpertsPlan
from planner.experts.solve import solve
from planner.experts.spec import ExpertsSpec
from planner.experts.view import view
from planner.types import Planner

PLANNER: Planner[ExpertsSpec, ExpertsPlan] = Planner(
    kind="experts",
    question="Which GPU should hold which experts, and which experts deserve another copy?",
    spec_type=ExpertsSpec,
    plan_type=ExpertsPlan,
    load=load,
    solve=solve,
    check=check,
    view=view,
)

__all__ = ["PLANNER", "ExpertsPlan", "ExpertsSpec"]
