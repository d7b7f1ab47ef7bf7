"""Which mix of GPU types serves this traffic at this SLO for the least money, power or carbon."""

from planner.lazy import lazily
from planner.serving.plan import ServingPlan
from planner.serving.spec import ServingSpec
from planner.types import Planner

PLANNER: Planner[ServingSpec, ServingPlan] = Planner(
    kind="serving",
    question="Which mix of GPU types serves this traffic at this SLO for the least money, power or carbon?",
    spec_type=ServingSpec,
    plan_type=ServingPlan,
    load=lazily("planner.serving.load", "load"),
    solve=lazily("planner.serving.solve", "solve"),
    check=lazily("planner.serving.check", "check"),
    view=lazily("planner.serving.view", "view"),
)

__all__ = ["PLANNER", "ServingPlan", "ServingSpec"]
