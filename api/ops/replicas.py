"""How many replicas of each deployment a service's plan wants now, as a metric that AIBrix' autoscalers follow.

A PodAutoscaler reads ``vllm:deployment_replicas`` from a path of its own (``metricsSources`` of type ``domain``), so
each deployment has one: ``/metrics/replicas/SERVICE/DEPLOYMENT``. Deployments are named as ``gpuplan render`` does.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from sqlalchemy import Engine

from planner.errors import UnknownName
from planner.identity import now
from planner.store import load_plan

PATH = "/metrics/replicas/"


def exposition(engine: Engine, service: str, deployment: str | None = None) -> bytes:
    """The replicas of every deployment of a saved service, or of one of them, at this hour.

    One that some hour of the service runs, and this one does not, has 0.

    Raises
    ------
    UnknownName
        If there is no such service or deployment, or nothing runs, or nobody said which plan it runs.
    InvalidInput
        If the plan has units whose deployments cannot be named.
    StoreError
        If the store cannot be read.
    """
    wanted = _replicas(engine, service)
    if deployment is not None:
        if deployment not in wanted:
            raise UnknownName("deployment", deployment, wanted)
        wanted = {deployment: wanted[deployment]}
    family = GaugeMetricFamily(
        "vllm:deployment_replicas", "Replicas that the plan wants now", labels=["service", "deployment"]
    )
    for name, replicas in wanted.items():
        family.add_metric([service, name], replicas)
    registry = CollectorRegistry()
    registry.register(_Family(family))
    return generate_latest(registry)


class _Family:
    """A metric that is there already, as a registry takes it."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> list[Metric]:
        return [self._family]


def _replicas(engine: Engine, service: str) -> dict[str, int]:
    # Only who asks for this needs the types of services and plans.
    from planner.replan.store import load

    stored = load(engine, service)
    if stored.running is None:
        raise UnknownName("running plan of", service, (), fix="plan it first: gpuplan replan")
    current = stored.running.at(now().astimezone(stored.service.zone())).plan_id
    if current is None:
        raise UnknownName("plan that runs now of", service, (), fix="plan it again: gpuplan replan")
    others = {plan.plan_id for plan in stored.running.plans if plan.plan_id is not None}
    wanted = {name: 0 for other in sorted(others - {current}) for name in _deployments(engine, other)}
    return wanted | _deployments(engine, current)


def _deployments(engine: Engine, plan_id: str) -> dict[str, int]:
    """Deployments of a saved serving plan, by the names that they are rendered with, and their replicas."""
    from planner.render.serving_units import units
    from planner.serving.plan import ServingPlan

    plan = ServingPlan.model_validate(load_plan(engine, plan_id).plan)
    return {unit.id: unit.row.replicas for unit in units(plan)}
