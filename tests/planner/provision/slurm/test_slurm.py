"""The Slurm target against a real Slurm: one job for each name, found by its label, replaced, and never doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from planner.errors import InvalidInput, ProvisioningFailed
from planner.provision import slurm_commands
from planner.provision.driver import Document, Driver, Refused, UnitState, Unreachable
from planner.provision.slurm import slurm_driver
from tests.planner.provision.slurm.cluster import SlurmCluster, until
from tests.planner.provision.slurm.conftest import SHOW_RANK, trains_until_told
from tests.planner.provision.slurm.plans import MIXED, UNEVEN, plan
from tests.planner.provision.slurm.test_ranks import ranks
from tests.planner.render.training_plans import places
from tests.planner.render.training_plans import plan as plan_of

pytestmark = pytest.mark.xdist_group("slurm")

KEY = "SlurmJob/llama"
ON_CLOUD = places(("n1", 0), ("n1", 1), ("c1", 0), ("c1", 1))


def wanted(target: Driver, mapping: tuple[object, ...] = MIXED) -> Document:
    """The object of a plan."""
    (document,) = target.desired(plan(mapping), "llama").values()  # type: ignore[arg-type]
    return document


def listed(slurm: SlurmCluster) -> list[tuple[str, str]]:
    """Number and state of every job that has not ended."""
    lines = slurm.run("squeue", "--noheader", "--format=%A %T").splitlines()
    return sorted((number, state) for number, state in (line.split() for line in lines))


def ready(target: Driver) -> dict[str, tuple[int, int]]:
    return {unit.unit: (unit.ready, unit.wanted) for unit in target.ready("llama")}


def test_a_job_runs_as_planned_to_its_end(slurm: SlurmCluster, target: Driver, root: Path) -> None:
    trains_until_told(root)
    document = wanted(target)
    assert target.preview("llama", document, False).obstacle == ""
    assert target.actual("llama") == {}
    target.put("llama", document, False)
    until(lambda: ready(target) == {"n1": (4, 4), "n2": (4, 4)}, "ranks run")
    assert target.actual("llama") == {KEY: document}
    target.put("llama", document, False)
    assert len(listed(slurm)) == 1
    (root / "stop").touch()
    until(lambda: not listed(slurm), "the job ends")
    (output,) = root.glob("llama/*/slurm-*.out")
    assert ranks(output.read_text()) == {place.rank: (place.node, place.gpu) for place in MIXED}
    assert ready(target) == {"n1": (4, 4), "n2": (4, 4)}
    assert target.actual("llama") == {KEY: document}
    target.put("llama", document, False)
    assert listed(slurm) == [], "a training that is over does not start again"
    target.remove("llama", KEY)
    assert target.actual("llama") == {}
    assert target.ready("llama") == ()
    assert output.exists()


def test_another_plan_takes_the_place_of_the_first(slurm: SlurmCluster, target: Driver, root: Path) -> None:
    trains_until_told(root)
    target.put("llama", wanted(target), False)
    ((first, _),) = listed(slurm)
    target.put("llama", wanted(target, UNEVEN), False)
    ((second, _),) = listed(slurm)
    assert second != first
    until(lambda: ready(target) == {"n1": (1, 1), "n2": (3, 3)}, "ranks run")
    assert target.actual("llama") == {KEY: wanted(target, UNEVEN)}
    target.remove("llama", KEY)
    assert listed(slurm) == []


def test_jobs_of_others_stay(slurm: SlurmCluster, target: Driver, root: Path, tmp_path: Path) -> None:
    trains_until_told(root)
    target.put("llama", wanted(target, UNEVEN), False)
    other = slurm_driver(str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.sh").write_text("sleep 60\n")
    other.put("llama", wanted(other, places(("n3", 0))), False)
    name = slurm.run("squeue", "--noheader", "--states=all", "--format=%j").splitlines()[0]
    sleeps = ["sbatch", "--parsable", "--nodelist=n3", f"--job-name={name}", "--output=/dev/null", "--wrap=sleep 60"]
    slurm.run(*sleeps)
    assert len(listed(slurm)) == 3
    target.remove("llama", KEY)
    assert len(listed(slurm)) == 2
    assert other.actual("llama") == {KEY: wanted(other, places(("n3", 0)))}
    assert target.actual("llama") == {}


@pytest.mark.parametrize("how", ["fails", "cancelled"])
def test_a_job_that_ended_badly_is_submitted_again(slurm: SlurmCluster, target: Driver, root: Path, how: str) -> None:
    (root / "train.sh").write_text("exit 3\n") if how == "fails" else trains_until_told(root)
    document = wanted(target)
    target.put("llama", document, False)
    if how == "cancelled":
        until(lambda: ready(target) == {"n1": (4, 4), "n2": (4, 4)}, "ranks run")
        slurm.run("scancel", listed(slurm)[0][0])
    until(lambda: not listed(slurm), "the job ends")
    ended = target.actual("llama")[KEY]["spec"]["ended"]
    assert ("FAILED" if how == "fails" else "CANCELLED") in ended
    assert all(unit.ready == 0 and ended in unit.reason and not unit.short for unit in target.ready("llama"))
    (root / "train.sh").write_text(SHOW_RANK)
    target.put("llama", document, False)
    until(lambda: not listed(slurm), "the job ends")
    assert target.actual("llama") == {KEY: document}


def test_slurm_forgets_a_job_and_its_end_is_still_known(
    slurm: SlurmCluster, target: Driver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = wanted(target, UNEVEN)
    target.put("llama", document, False)
    until(lambda: not listed(slurm), "the job ends")
    monkeypatch.setattr(slurm_commands, "jobs", lambda name: [])
    assert target.actual("llama") == {KEY: document}
    assert ready(target) == {"n1": (1, 1), "n2": (3, 3)}
    next(root.glob("llama/*/finished.txt")).unlink()
    assert "did not finish" in target.actual("llama")[KEY]["spec"]["ended"]


def test_a_requeued_job_is_the_same_job(slurm: SlurmCluster, target: Driver, root: Path) -> None:
    trains_until_told(root)
    target.put("llama", wanted(target, UNEVEN), False)
    until(lambda: ready(target) == {"n1": (1, 1), "n2": (3, 3)}, "ranks run")
    ((number, _),) = listed(slurm)
    slurm.run("scontrol", "requeue", number)
    target.put("llama", wanted(target, UNEVEN), False)
    assert [job for job, _ in listed(slurm)] == [number]
    assert "ended" not in target.actual("llama")[KEY]["spec"]
    assert all(unit.ready == 0 and not unit.short for unit in target.ready("llama"))


@pytest.mark.parametrize("when", ["before sbatch", "after sbatch"])
def test_killed_while_submitting(slurm: SlurmCluster, target: Driver, root: Path, when: str) -> None:
    trains_until_told(root)
    document = wanted(target)
    child = os.fork()
    if child == 0:
        submit = slurm_commands.submit

        def dying(*arguments: object) -> int:
            if when == "after sbatch":
                submit(*arguments)  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        slurm_commands.submit = dying  # type: ignore[assignment]
        target.put("llama", document, False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len(listed(slurm)) == (when == "after sbatch")
    target.put("llama", document, False)
    assert len(listed(slurm)) == 1
    until(lambda: ready(target) == {"n1": (4, 4), "n2": (4, 4)}, "ranks run")
    assert target.actual("llama") == {KEY: document}


def test_a_second_submission_is_cancelled_before_it_runs(slurm: SlurmCluster, target: Driver, root: Path) -> None:
    trains_until_told(root)
    target.put("llama", wanted(target), False)
    until(lambda: ready(target) == {"n1": (4, 4), "n2": (4, 4)}, "ranks run")
    ((number, _),) = listed(slurm)
    (folder,) = root.glob("llama/*")
    name, comment = slurm.run("squeue", "--noheader", "--format=%j|%k").split("|")
    slurm_commands.submit(folder, name, comment, "train.sbatch", ["bash", str(root / "train.sh")])
    assert len(listed(slurm)) == 2
    assert [state for _, state in listed(slurm)].count("RUNNING") == 1
    target.put("llama", wanted(target), False)
    assert listed(slurm) == [(number, "RUNNING")]


def test_a_node_that_is_down_is_short(slurm: SlurmCluster, target: Driver, root: Path) -> None:
    slurm.run("scontrol", "update", "node=n2", "state=down", "reason=broken fan")
    document = wanted(target)
    assert target.preview("llama", document, False).obstacle == ""
    target.put("llama", document, False)
    until(lambda: any(unit.short for unit in target.ready("llama")), "a shortage")
    units = {unit.unit: unit for unit in target.ready("llama")}
    assert units["n2"].short
    assert "broken fan" in units["n2"].reason
    assert not units["n1"].short
    assert "waits" in units["n1"].reason


def test_a_node_that_others_have_is_short(slurm: SlurmCluster, target: Driver, root: Path) -> None:
    slurm.run("sbatch", "--nodelist=n2", "--exclusive", "--output=/dev/null", "--wrap=sleep 60")
    until(lambda: slurm.state("n2") == "allocated", "the other job runs")
    target.put("llama", wanted(target), False)
    units = {unit.unit: unit for unit in target.ready("llama")}
    assert (units["n2"].short, units["n2"].reason) == (True, "other jobs have the node")
    assert not units["n1"].short


def test_a_cloud_node_that_does_not_come_up_is_short(slurm: SlurmCluster, target: Driver, root: Path) -> None:
    target.put("llama", wanted(target, ON_CLOUD), False)
    looks: list[dict[str, UnitState]] = []

    def given_up() -> bool:  # until Slurm tries again, two minutes later
        looks.append({unit.unit: unit for unit in target.ready("llama")})
        assert all(unit.ready == 0 for unit in looks[-1].values())
        return looks[-1]["c1"].short

    until(given_up, "Slurm gives the node up")
    assert "the node is off" in looks[-1]["c1"].reason
    assert not looks[-1]["n1"].short


def test_what_slurm_refuses(slurm: SlurmCluster, target: Driver, root: Path) -> None:
    unknown = wanted(target, places(("n1", 0), ("nowhere", 0)))
    assert "Invalid node name" in target.preview("llama", unknown, False).obstacle
    with pytest.raises(Refused, match="Invalid node name"):
        target.put("llama", unknown, False)
    too_many = wanted(target, places(("n1", 7)))
    assert "not available" in target.preview("llama", too_many, False).obstacle
    assert listed(slurm) == []
    (root / "train.sh").unlink()
    assert "train.sh is missing" in target.preview("llama", wanted(target), False).obstacle


def test_no_secret_of_ours_reaches_a_job(
    slurm: SlurmCluster, target: Driver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPLAN_DATABASE", "postgresql://user:very-secret@host/gpuplan")
    (root / "train.sh").write_text("env\n")
    target.put("llama", wanted(target, UNEVEN), False)
    until(lambda: not listed(slurm), "the job ends")
    (output,) = root.glob("llama/*/slurm-*.out")
    assert "RANK=3" in output.read_text()
    assert "very-secret" not in output.read_text()


def test_a_plan_without_host_names_is_refused(root: Path) -> None:
    with pytest.raises(InvalidInput, match="names no nodes"):
        slurm_driver(str(root)).desired(plan_of(group={"hosts": ()}), "llama")  # type: ignore[arg-type]


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProvisioningFailed, match="squeue is not installed"):
        slurm_commands.jobs("any")
    (tmp_path / "squeue").write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n"
    )
    (tmp_path / "squeue").chmod(0o755)
    with pytest.raises(Unreachable, match="does not answer"):
        slurm_commands.jobs("any")
    (tmp_path / "squeue").write_text("#!/bin/sh\nwhile :; do :; done\n")
    monkeypatch.setattr(slurm_commands, "TIMEOUT_S", 0.2)
    with pytest.raises(Unreachable, match="did not answer"):
        slurm_commands.jobs("any")


def test_a_controller_that_is_gone(slurm: SlurmCluster, target: Driver, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    lost = (slurm.root / "slurm.conf").read_text().replace("SlurmctldPort=", "SlurmctldPort=1#")
    (tmp_path / "slurm.conf").write_text(f"{lost}MessageTimeout=2\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(Unreachable):
        target.put("llama", wanted(target), False)
