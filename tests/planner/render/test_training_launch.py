"""Launch scripts start every rank where the plan puts it: they are run, beside programs that note their call."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from planner.render.targets import render_plan
from planner.training.plan import Configuration, Place
from tests.planner.render.training_plans import BY_PAIRS, HOSTS, IN_ORDER, configuration, plan


def launched(files: dict[str, str], host: str, tmp_path: Path) -> list[tuple[str, list[str]]]:
    """What ``torchrun.sh`` starts on ``host``: the visible GPUs and arguments of each torchrun."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    binaries = tmp_path / "bin"
    binaries.mkdir(exist_ok=True)
    (binaries / "torchrun").write_text(f'#!/bin/bash\necho "$CUDA_VISIBLE_DEVICES" "$@" >> {tmp_path}/started\n')
    (binaries / "torchrun").chmod(0o755)
    (tmp_path / "started").write_text("")
    environment = {"PATH": f"{binaries}:/usr/bin:/bin", "TRAINING_HOST": host}
    subprocess.run(["bash", tmp_path / "torchrun.sh", "train.py", "--lr 1"], env=environment, check=True)
    lines = (tmp_path / "started").read_text().splitlines()
    return sorted((gpus, rest) for gpus, *rest in (line.split() for line in lines))


@pytest.mark.parametrize("mapping", [(), IN_ORDER, BY_PAIRS], ids=["none", "in order", "by pairs"])
def test_torchrun_gives_every_rank_its_gpu(mapping: tuple[Place, ...], tmp_path: Path) -> None:
    files = render_plan(plan(mapping=mapping), "torchrun")
    assert "made up" not in files["torchrun.sh"]
    found: dict[int, tuple[str, int]] = {}
    for host in HOSTS:
        for gpus, arguments in launched(files, host, tmp_path):
            options = dict(argument.removeprefix("--").split("=") for argument in arguments if "=" in argument)
            size = int(options["nproc-per-node"])
            assert int(options["nnodes"]) * size == 12
            assert options["master-addr"] == (mapping or IN_ORDER)[0].node
            assert arguments[-3:] == ["train.py", "--lr", "1"]
            for local, gpu in enumerate(gpus.split(",")):
                found[int(options["node-rank"]) * size + local] = (host, int(gpu))
    assert found == {place.rank: (place.node, place.gpu) for place in mapping or IN_ORDER}


def test_torchrun_has_one_line_per_host_where_ranks_follow_each_other() -> None:
    script = render_plan(plan(mapping=IN_ORDER), "torchrun")["torchrun.sh"]
    assert [line.split(")")[1] for line in script.splitlines() if " start " in line] == [
        f" start {rank} 0,1,2,3 ;;" for rank in range(3)
    ]


def test_torchrun_elsewhere_and_failing(tmp_path: Path) -> None:
    (tmp_path / "torchrun.sh").write_text(render_plan(plan(), "torchrun")["torchrun.sh"])
    run = ["bash", tmp_path / "torchrun.sh", "train.py"]
    stranger = subprocess.run(run, env={"PATH": "/usr/bin:/bin", "TRAINING_HOST": "delta"}, capture_output=True)
    assert stranger.returncode == 1
    assert b"no rank for this host" in stranger.stderr
    (tmp_path / "torchrun").write_text("#!/bin/bash\nexit 3\n")
    (tmp_path / "torchrun").chmod(0o755)
    failed = subprocess.run(run, env={"PATH": f"{tmp_path}:/usr/bin:/bin", "TRAINING_HOST": "alpha"})
    assert failed.returncode == 3


def test_slurm_sends_tasks_to_hosts_line_by_line() -> None:
    files = render_plan(plan(mapping=BY_PAIRS), "slurm")
    assert files["hostfile.txt"].split() == [place.node for place in BY_PAIRS]
    script = files["train.sbatch"]
    options = dict(line.split()[1].removeprefix("--").split("=") for line in script.splitlines()
                   if line.startswith("#SBATCH") and "=" in line)  # fmt: skip
    assert options["ntasks"] == "12"
    assert options["nodes"] == "3"
    assert options["gpus-per-node"] == "4"
    assert set(options["nodelist"].split(",")) == set(HOSTS)
    assert "srun --distribution=arbitrary --ntasks=12" in script


def test_openmpi_rankfile() -> None:
    files = render_plan(plan(mapping=BY_PAIRS), "openmpi")
    assert files["rankfile.txt"].splitlines()[:2] == ["rank 0=beta-1 slot=1", "rank 1=beta-1 slot=0"]
    slots = dict(line.split(" slots=") for line in files["hosts.txt"].splitlines())
    assert slots == dict.fromkeys(HOSTS, "4")
    assert "-np 12" in files["mpirun.sh"]


@pytest.mark.parametrize(("target", "variable"), [("slurm", "SLURM_PROCID"), ("openmpi", "OMPI_COMM_WORLD_RANK")])
def test_a_rank_finds_its_gpu(target: str, variable: str, tmp_path: Path) -> None:
    for name, text in render_plan(plan(mapping=BY_PAIRS), target).items():
        (tmp_path / name).write_text(text)
    show = 'echo "$RANK $WORLD_SIZE $LOCAL_RANK $MASTER_ADDR $MASTER_PORT $1"'
    environment = {"PATH": "/usr/bin:/bin", variable: "8", "MASTER_ADDR": "alpha"}
    ran = subprocess.run(["bash", tmp_path / "rank.sh", "bash", "-c", show, "x", "a b"], env=environment, check=True,
                         capture_output=True, text=True)  # fmt: skip
    assert ran.stdout.strip() == f"8 12 {BY_PAIRS[8].gpu} alpha 29500 a b"


@pytest.mark.parametrize("target", ["torchrun", "slurm", "openmpi"])
def test_hosts_without_names_are_said_to_be_made_up(target: str) -> None:
    texts = render_plan(plan(configuration(groups=("rack",)), group={"hosts": (), "name": "rack"}), target)
    script = next(text for name, text in texts.items() if name.endswith((".sh", ".sbatch")) and name != "rank.sh")
    assert "made up" in script
    assert "nodelist" not in script
    assert any("rack-2" in text for text in texts.values())


def trainer_gets(target: str, script: str, best: Configuration, tmp_path: Path) -> list[str]:
    files = render_plan(plan(best), target)
    launched(files, "alpha", tmp_path)
    (tmp_path / "started").write_text("")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "TRAINING_HOST": "alpha", "MEGATRON": "/opt/megatron"}
    subprocess.run(["bash", tmp_path / script, "--data-path", "mine"], env=environment, check=True)
    return (tmp_path / "started").read_text().split()


@pytest.mark.parametrize(
    ("target", "script", "framework", "program"),
    [
        ("megatron", "train_megatron.sh", "megatron-lm", "/opt/megatron/pretrain_gpt.py"),
        ("deepspeed", "train_deepspeed.sh", "megatron-deepspeed", "/opt/megatron/pretrain_gpt.py"),
        ("torchtitan", "train_torchtitan.sh", "fsdp", "torchtitan.train"),
    ],
)
def test_training_scripts_start_the_trainer_with_the_flags(
    target: str, script: str, framework: str, program: str, tmp_path: Path
) -> None:
    words = trainer_gets(target, script, configuration(framework=framework), tmp_path)
    assert program in words
    assert words[words.index("--data-path") + 1] == "mine"
    flag = "--parallelism.tensor_parallel_degree" if target == "torchtitan" else "--tensor-model-parallel-size"
    assert words[words.index(flag) + 1] == "2"
