"""Power plans as operators take them. Pure: plan in, file names and texts out."""

from __future__ import annotations

from collections.abc import Callable

from planner.errors import InvalidInput
from planner.power.plan import PowerPlan
from planner.render.power_commands import commands
from planner.render.power_controller import controller
from planner.render.power_plot import plot
from planner.render.power_policy import policy
from planner.render.power_prometheus import prometheus
from planner.render.renderer import Renderer, guarded

Writer = Callable[[PowerPlan], dict[str, str]]


def _of_a_row(write: Writer) -> Writer:
    """``write``, of plans with a row only: a site alone has no policy."""

    def render(plan: PowerPlan) -> dict[str, str]:
        if plan.policy is None or plan.budget_w is None or plan.num_servers is None:
            raise InvalidInput("has no row: there is no policy to render", field="PLAN", fix="add a row to its spec")
        return write(plan)

    return render


RENDERERS: dict[str, Renderer[PowerPlan]] = guarded(
    _of_a_row,
    Renderer("power", "policy", "thresholds and caps as JSON and YAML", policy),
    Renderer("power", "commands", "nvidia-smi, DCGM and Redfish commands for every state", commands),
    Renderer("power", "prometheus", "Prometheus: recording and alert rules", prometheus),
    Renderer("power", "controller", "a controller that follows the policy, and its systemd unit", controller),
    Renderer("power", "plot", "the worst day and other choices, as one HTML page", plot),
)
