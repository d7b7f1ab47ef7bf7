"""Which mix of GPU types serves this traffic at this SLO for the least money, power or carbon."""

from planner.serving.check import check
from planner.serving.load import load
from planner.serving.plan import ServingPlan
from planner.serving.solve import solve
from planner.serving.spec import ServingSpec
from planner.serving.view import view
from planner.types import Planner

PLANNER: Planner[ServingSpec, ServingPlan] = Planner(
    kind="serving",
    question="Which mix of GPU types serves this traffic at this SLO for the least money, power or carbon?",
    spec_type=ServingSpec,
    plan_type=ServingPlan,
    load=load,
    solve=solve,
    check=check,
    view=view,
)

__all__ = ["PLANNER", "ServingPlan", "ServingSpec"]
