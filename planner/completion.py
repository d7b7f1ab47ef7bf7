"""What the shell may complete: each function takes the word that was begun and gives the words it may become.

A key press waits for them, so nothing here makes a store, and whatever goes wrong is silence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

Complete = Callable[[str], list[str]]

MOST_PLANS = 20
"""Saved plans that are offered: the newest."""


def _silent(words: Callable[[], Iterable[str]]) -> Complete:
    """Those of ``words`` that begin as what was typed; none where they cannot be had."""

    def complete(incomplete: str) -> list[str]:
        try:
            return [word for word in words() if word.startswith(incomplete)]
        except Exception:  # whatever it is: a traceback would land in the middle of a command line
            return []

    return complete


@_silent
def swept_kinds() -> Iterable[str]:
    """Kinds of ``gpuplan sweep``."""
    from planner.registry import PLANNERS

    return (*PLANNERS, "simulation")


@_silent
def validated_parts() -> Iterable[str]:
    """Parts of ``gpuplan validate``."""
    from profiles.validate import PARTS

    return PARTS


@_silent
def formats() -> Iterable[str]:
    """File formats of ``gpuplan profiles import``."""
    from profiles.ingest import FORMATS

    return FORMATS


@_silent
def render_targets() -> Iterable[str]:
    """Targets of ``gpuplan render``, of plans of every kind."""
    from planner.render.targets import RENDERERS

    return sorted({name for targets in RENDERERS.values() for name in targets})


@_silent
def deploy_targets() -> Iterable[str]:
    """Targets of ``gpuplan apply``, without what may follow their name."""
    from planner.provision.targets import TARGETS

    return TARGETS


@_silent
def plan_ids() -> Iterable[str]:
    """Ids of the newest saved plans; files are completed by the shell itself."""
    from planner.store import list_plans

    return (plan.id for plan in list_plans(_store(), limit=MOST_PLANS).plans)


@_silent
def deployments() -> Iterable[str]:
    """Names of what was applied."""
    from planner.provision.store import newest

    return sorted({deployment.name for deployment in newest(_store())})


@_silent
def services() -> Iterable[str]:
    """Names of saved services."""
    from planner.replan.store import names

    return names(_store())


@_silent
def gpus() -> Iterable[str]:
    """Names of GPU types in the store."""
    from profiles.store import snapshot

    return (gpu.name for gpu in snapshot(_store()).gpus)


def _store() -> Engine:
    """The store that commands would use, if it is there."""
    from planner.command import DATABASE_VARIABLE
    from profiles.db import DEFAULT_URL, connect

    return connect(os.environ.get(DATABASE_VARIABLE) or DEFAULT_URL, lock_wait_s=0.5)
