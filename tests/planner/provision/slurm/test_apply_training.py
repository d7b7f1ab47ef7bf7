"""Training plans applied to a real Slurm, as people type it: shown, run, looked at, rolled back, withdrawn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from planner.cli import app
from planner.provision import store
from planner.provision.training_shortage import without
from planner.service import answer
from planner.training.cluster import Cluster
from planner.training.plan import TrainingPlan
from planner.training.spec import TrainingSpec
from planner.types import SolveOptions
from profiles import db
from tests.planner.provision.plans import plan as serving_plan
from tests.planner.provision.slurm.cluster import SlurmCluster, until
from tests.planner.provision.slurm.conftest import trains_until_told
from tests.planner.provision.slurm.test_ranks import ranks
from tests.planner.provision.slurm.test_slurm import listed

pytestmark = pytest.mark.xdist_group("slurm")

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def plan(catalogue_file: Path) -> Callable[..., TrainingPlan]:
    """Plans of a small model on nodes of these names, with four GPUs each."""
    return lambda *hosts: planned(catalogue_file, hosts)


@cache
def planned(catalogue_file: Path, hosts: tuple[str, ...]) -> TrainingPlan:
    shape = {"num_layers": 16, "hidden_size": 2048, "num_attention_heads": 16, "vocab_size": 1024}
    cluster = {"groups": [{"gpu": "H100-80GB-SXM", "nodes": len(hosts), "gpus_per_node": 4, "hosts": hosts}]}
    choices = {"frameworks": ["megatron-lm"], "tensor_parallel": [2], "recompute": ["none"], "virtual_stages": [1]}
    spec = {"name": "tiny", "model": "tiny", "shape": shape, "sequence_length": 2048, "global_batch": 256,
            "tokens": 1e9, "cluster": cluster, "choices": choices}  # fmt: skip
    engine = db.connect(f"sqlite:///{catalogue_file}")
    found = answer("training", TrainingSpec.model_validate(spec), engine, SolveOptions())
    engine.dispose()
    assert isinstance(found, TrainingPlan)
    assert found.ranked[0].num_gpus == 4 * len(hosts)
    return found


@pytest.fixture
def run(slurm: SlurmCluster, filled: Engine, root: Path, tmp_path: Path) -> Run:
    """Runs a command on the store and the cluster; plans among its words are written to files."""
    runner = CliRunner()

    def command(*words: Any, code: int = 0) -> tuple[str, str]:
        named = [file(tmp_path, word) if hasattr(word, "model_dump_json") else word for word in words]
        typed = [part.replace("HERE", f"slurm:{root}") for part in named]
        result = runner.invoke(app, [*typed, "--database", str(filled.url)])
        assert result.exit_code == code, result.output + repr(result.exception)
        return " ".join(result.stdout.split()), " ".join(result.stderr.split())

    return command


def file(folder: Path, plan: Any) -> str:
    path = folder / f"{len(list(folder.glob('*.json')))}.json"
    path.write_text(plan.model_dump_json())
    return str(path)


def test_the_whole_life(run: Run, slurm: SlurmCluster, root: Path, plan: Callable[..., TrainingPlan]) -> None:
    trains_until_told(root)
    one, two = plan("n1"), plan("n1", "n2")
    shown, told = run("apply", one, "--target", "HERE")
    assert "1 to add" in shown
    assert "--yes does it" in told
    assert listed(slurm) == []
    run("apply", one, "--target", "HERE", "--yes", "--wait", "20")
    ((first, state),) = listed(slurm)
    assert state == "RUNNING"
    assert "applied" in run("status", "tiny")[0]
    assert "runs plan" in run("apply", one, "--target", "HERE", "--yes")[0]
    assert listed(slurm) == [(first, state)]
    assert "1 to change" in run("apply", two, "--target", "HERE", "--yes", "--wait", "20")[0]
    ((second, _),) = listed(slurm)
    assert second != first
    units = json.loads(run("status", "tiny", "--json")[0])["units"]
    assert {unit["unit"]: (unit["ready"], unit["wanted"]) for unit in units} == {"n1": (4, 4), "n2": (4, 4)}
    run("rollback", "tiny", "--yes", "--wait", "20")
    slurm.run("scancel", listed(slurm)[0][0])
    until(lambda: listed(slurm) == [], "the job ends")
    assert "ended as CANCELLED" in run("status", "tiny", code=6)[0]
    run("rollback", "tiny", "--target", "HERE", code=2)
    run("apply", one, "--target", "HERE", "--yes", "--wait", "20")
    (root / "stop").touch()
    until(lambda: listed(slurm) == [], "the job ends")
    newest = max(root.glob("tiny/*/slurm-*.out"), key=lambda path: path.stat().st_mtime)
    assert ranks(newest.read_text()) == {place.rank: (place.node, place.gpu) for place in one.mapping}
    assert (newest.parent / "megatron_flags.sh").is_file()
    assert json.loads(run("status", "tiny", "--json")[0])["as_planned"]
    run("withdraw", "tiny", "--yes")
    assert json.loads(run("status", "tiny", "--json")[0])["as_planned"]


def test_a_cloud_node_that_does_not_come_is_planned_around(
    run: Run, slurm: SlurmCluster, root: Path, plan: Callable[..., TrainingPlan]
) -> None:
    trains_until_told(root)
    shown, _ = run("apply", plan("n1", "c1"), "--target", "HERE", "--yes", "--wait", "10", "--fallback")
    assert "Short: node c1: the node is off" in shown
    assert "The next best plan takes" in shown
    assert slurm.run("squeue", "--noheader", "--format=%N %T") == "n1 RUNNING"
    assert json.loads(run("status", "tiny", "--json")[0])["as_planned"]


def test_a_drained_node_is_said_and_nothing_is_left_without_it(
    run: Run, slurm: SlurmCluster, root: Path, plan: Callable[..., TrainingPlan]
) -> None:
    slurm.run("scontrol", "update", "node=n2", "state=drain", "reason=repair")
    _, told = run("apply", plan("n1", "n2"), "--target", "HERE", "--yes", "--wait", "0.5", code=6)
    assert "Short: node n2: the node is drained (repair). The next best plan takes" in told
    assert "fix: apply it: --fallback, or plan" in told
    _, told = run("apply", plan("n2"), "--target", "HERE", "--yes", "--wait", "0.5", "--fallback", code=6)
    assert "no node is left without n2" in told
    run("withdraw", "tiny", "--yes")
    assert listed(slurm) == []


def test_killed_between_submitting_and_the_journal(
    run: Run, slurm: SlurmCluster, filled: Engine, root: Path, tmp_path: Path, plan: Callable[..., TrainingPlan]
) -> None:
    trains_until_told(root)
    program = """
import os, signal, sys
from planner.cli import app
from planner.provision import slurm_commands
submit = slurm_commands.submit
def dying(*arguments):
    submit(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
slurm_commands.submit = dying
app()
"""
    words = ["apply", file(tmp_path, plan("n1", "n2")), "--target", f"slurm:{root}", "--yes", "--wait", "20",
             "--database", str(filled.url)]  # fmt: skip
    killed = subprocess.run([sys.executable, "-c", program, *words], env=os.environ, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ((number, _),) = listed(slurm)
    assert store.history(filled, "tiny")[-1].state == "applying"
    assert store.history(filled, "tiny")[-1].journal[-1].state == "begun"
    run("apply", plan("n1", "n2"), "--target", "HERE", "--yes", "--wait", "20")
    assert [job for job, _ in listed(slurm)] == [number]
    assert [row.state for row in store.history(filled, "tiny")] == ["applied"]


def test_plans_of_other_kinds(run: Run, catalogue_file: Path, plan: Callable[..., TrainingPlan]) -> None:
    engine = db.connect(f"sqlite:///{catalogue_file}")
    serving = serving_plan(engine, 1.0)
    engine.dispose()
    assert "takes training plans" in run("apply", serving, "--target", "HERE", code=2)[1]
    assert "takes serving plans" in run("apply", plan("n1"), "--target", "local", code=2)[1]


def test_a_cluster_without_some_hosts() -> None:
    groups = ({"name": "a", "gpu": "H100", "nodes": 2, "hosts": ("a0", "a1")},
              {"name": "b", "gpu": "H100", "nodes": 1, "hosts": ("b0",)})  # fmt: skip
    cluster = Cluster.model_validate({"groups": groups, "gb_per_s": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]})
    left = without(cluster, ["a0"])
    assert left is not None
    assert left.host_names() == ("a1", "b0")
    assert left.gb_per_s == ((5.0, 6.0), (8.0, 9.0))
    assert Cluster.model_validate(left.model_dump()) == left
    assert without(cluster, ["a0", "a1"]).host_names() == ("b0",)  # type: ignore[union-attr]
    assert without(cluster, ["a0", "a1", "b0"]) is None
