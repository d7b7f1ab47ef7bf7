"""How many servers a row's power budget carries, under which capping policy, and on which feeds they go."""

from planner.lazy import lazily
from planner.power.plan import PowerPlan
from planner.power.spec import PowerSpec
from planner.types import Planner

PLANNER: Planner[PowerSpec, PowerPlan] = Planner(
    kind="power",
    question="How many servers does a row's power carry, under which capping, and on which feeds do they go?",
    spec_type=PowerSpec,
    plan_type=PowerPlan,
    load=lazily("planner.power.load", "load"),
    solve=lazily("planner.power.solve", "solve"),
    check=lazily("planner.power.check", "check"),
    view=lazily("planner.power.view", "view"),
)

__all__ = ["PLANNER", "PowerPlan", "PowerSpec"]
