"""A Slurm cluster for all tests here, an empty folder for each, and plans for its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from planner.provision.driver import Driver
from planner.provision.slurm import slurm_driver
from tests.planner.provision.slurm.cluster import CLOUD, STATIC, SlurmCluster, start, until, why_not

SHOW_RANK = 'echo "$RANK $WORLD_SIZE $SLURMD_NODENAME $LOCAL_RANK ${CUDA_VISIBLE_DEVICES-none} $MASTER_ADDR"\n'
"""In place of a trainer: one line for each rank, in the job's output."""


@pytest.fixture(scope="session")
def running() -> Iterator[SlurmCluster]:
    """A cluster with three idle nodes."""
    if reason := why_not():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        cluster = start()
        for key, value in cluster.environment.items():
            patch.setenv(key, value)
        yield cluster
        cluster.stop()


@pytest.fixture
def slurm(running: SlurmCluster) -> Iterator[SlurmCluster]:
    """The cluster, without jobs and with all its nodes before and after the test."""
    yield running
    running.run("scancel", "--user", "root")
    for name in STATIC:
        if running.state(name).startswith(("down", "drain")):
            running.run("scontrol", "update", f"node={name}", "state=resume")
    with suppress(AssertionError):  # Slurm refuses that of a cloud node that it never gave up
        running.run("scontrol", "update", f"node={CLOUD}", "state=resume")
    until(lambda: all(running.state(name) == "idle" for name in STATIC), "nodes are not idle again")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the target, with a trainer that shows its rank and ends."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    (folder / "train.sh").write_text(SHOW_RANK)
    return folder


@pytest.fixture
def target(slurm: SlurmCluster, root: Path) -> Driver:
    """The target in that folder."""
    return slurm_driver(str(root))


def trains_until_told(root: Path) -> None:
    """Make the trainer one that goes on until the file ``stop`` is in the target's folder."""
    (root / "train.sh").write_text(f"{SHOW_RANK}until [ -e {root}/stop ]; do sleep 0.2; done\n")
