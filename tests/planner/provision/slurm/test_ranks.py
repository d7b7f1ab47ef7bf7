"""Slurm starts every rank of a rendered plan on its node and GPU, in the plan's order."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from planner.render.targets import render_plan
from planner.training.plan import Place
from tests.planner.provision.slurm.cluster import SlurmCluster, until
from tests.planner.provision.slurm.conftest import SHOW_RANK
from tests.planner.provision.slurm.plans import MIXED, SMALLER, UNEVEN, plan

pytestmark = pytest.mark.xdist_group("slurm")


def ranks(output: str) -> dict[int, tuple[str, int]]:
    """Node and GPU of each rank, as the ranks themselves said."""
    lines = [line.split() for line in output.splitlines()]
    assert all(len(line) == 6 for line in lines), output
    return {int(rank): (node, int(visible.split(",")[int(local)])) for rank, _, node, local, visible, _ in lines}


def ended(slurm: SlurmCluster, folder: Path, *command: str) -> str:
    """Submit the rendered job of a folder with a command for every rank, and wait; how it ended."""
    sbatch = ["sbatch", "--parsable", "--output=out.txt", "train.sbatch", *command]
    ran = subprocess.run(sbatch, cwd=folder, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    until(lambda: not slurm.run("squeue", "--noheader"), "the job ends")
    return slurm.run("squeue", "--noheader", "--states=all", f"--jobs={ran.stdout.strip()}", "--format=%T")


@pytest.mark.parametrize("mapping", [MIXED, UNEVEN, SMALLER], ids=["mixed", "uneven", "nodes of two sizes"])
def test_every_rank_runs_where_the_plan_puts_it(
    slurm: SlurmCluster, mapping: tuple[Place, ...], tmp_path: Path
) -> None:
    for name, text in render_plan(plan(mapping), "slurm").items():
        (tmp_path / name).write_text(text)
    (tmp_path / "show.sh").write_text(SHOW_RANK)
    assert ended(slurm, tmp_path, "bash", "show.sh") == "COMPLETED"
    output = (tmp_path / "out.txt").read_text()
    assert ranks(output) == {place.rank: (place.node, place.gpu) for place in mapping}
    assert {line.split()[1] for line in output.splitlines()} == {str(len(mapping))}
    assert {line.split()[5] for line in output.splitlines()} == {mapping[0].node}
    assert (tmp_path / "finished.txt").exists()


def test_a_failed_rank_ends_the_others_and_the_job(slurm: SlurmCluster, tmp_path: Path) -> None:
    for name, text in render_plan(plan(MIXED), "slurm").items():
        (tmp_path / name).write_text(text)
    trainer = '[ "$RANK" != 5 ] || exit 7; sleep 60'
    assert ended(slurm, tmp_path, "bash", "-c", trainer) == "FAILED"
    assert not (tmp_path / "finished.txt").exists()


def test_nodes_of_two_sizes_are_asked_for_together() -> None:
    same, different = (render_plan(plan(mapping), "slurm")["train.sbatch"] for mapping in (MIXED, SMALLER))
    assert "#SBATCH --gpus-per-node=4\n" in same
    assert "#SBATCH --gpus=6\n" in different
    assert "--gpus-per-node" not in different
