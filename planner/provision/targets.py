"""The targets that plans can be applied to, by how a person names one: ``local:DIR``, ``kubernetes:CONTEXT/NAMESPACE``,
``skypilot:DIR``.

What is left out is filled in from the surroundings (folder, kubeconfig); the store keeps the whole name, so that a
deployment is found again wherever the command runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from planner.errors import UnknownName
from planner.lazy import lazily
from planner.provision.driver import Driver

LOCAL_FOLDER_VARIABLE = "GPUPLAN_LOCAL_DIR"
LOCAL_FOLDER = ".gpuplan/local"
"""In the folder that a command runs in, as the default store is."""


def _local(where: str) -> Driver:
    from planner.provision.local import local_driver

    return local_driver(Path(where or os.environ.get(LOCAL_FOLDER_VARIABLE) or LOCAL_FOLDER))


TARGETS: dict[str, Callable[[str], Driver]] = {
    "local": _local,
    "kubernetes": lazily("planner.provision.kubernetes", "kubernetes_driver"),
    "skypilot": lazily("planner.provision.skypilot", "skypilot_driver"),
    "slurm": lazily("planner.provision.slurm", "slurm_driver"),
}


def driver_for(target: str) -> Driver:
    """The driver of ``KIND`` or ``KIND:WHERE``.

    Raises
    ------
    UnknownName
        If there is no such kind.
    InvalidInput, ProvisioningFailed
        If the place cannot be understood or reached.
    """
    kind, _, where = target.partition(":")
    if kind not in TARGETS:
        raise UnknownName("target", kind, TARGETS, field="target", fix=f"targets: {', '.join(TARGETS)}")
    return TARGETS[kind](where)
