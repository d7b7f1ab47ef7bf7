"""How a deployment stands: what was applied, what differs from that now, and what is ready."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from planner.errors import InvalidInput
from planner.provision import store
from planner.provision.apply import would_change
from planner.provision.changes import Change
from planner.provision.driver import Driver, UnitState
from planner.provision.history import applicable_plan
from planner.provision.store import Deployment
from profiles.db import exclusive


@dataclass(frozen=True)
class Status:
    """``drift``: what applying the same plan again would change. ``changing``: somebody applies something now."""

    deployment: Deployment
    changing: bool
    drift: tuple[Change, ...]
    units: tuple[UnitState, ...]

    @property
    def as_planned(self) -> bool:
        """Whether all is there, unchanged and ready."""
        ended = self.deployment.state in ("applied", "removed")
        return ended and not self.drift and all(unit.ready >= unit.wanted for unit in self.units)


def status(engine: Engine, driver: Driver, name: str) -> Status:
    """How ``name`` stands at the driver's target.

    Raises
    ------
    InvalidInput
        If nothing was ever applied under that name there.
    ProvisioningFailed
        If the target cannot be asked.
    """
    past = store.history(engine, name, driver.target)
    if not past:
        raise InvalidInput(f"nothing was applied under {name!r} at {driver.target}", field="name",
                           fix="`gpuplan deployments` lists what was")  # fmt: skip
    last = past[-1]
    plan = None if last.purpose == "remove" else applicable_plan(engine, last.plan_id)
    with exclusive(engine, f"deployment-{name}") as nobody_else:
        pass  # only to know: who applies something now must not find it taken
    return Status(last, not nobody_else, would_change(engine, driver, plan, name), driver.ready(name))
