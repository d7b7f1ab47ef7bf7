"""A Slurm cluster on this machine: real munged, slurmctld and slurmd, pretend GPUs, and cloud nodes.

``n1``, ``n2`` and ``n3`` are there; Slurm starts ``c1`` when a job wants it, and it never comes up. The nodes pretend
to have GPUs: Slurm only wants their device files to be character devices. Everything lives in one folder, and ends
with ``stop``.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

GPUS = {"n1": 4, "n2": 4, "n3": 2, "c1": 4}
CLOUD = "c1"
STATIC = tuple(name for name in GPUS if name != CLOUD)

PROGRAMS = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in (
    "munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")}  # fmt: skip
RESUME_TIMEOUT_S = 2
"""After which Slurm gives a cloud node up."""
START_S = 60.0
"""More than the daemons need even on a busy machine (2 s on an idle one)."""


def why_not() -> str:
    """Why no cluster can be started here; "" where one can."""
    missing = [name for name, path in PROGRAMS.items() if path is None]
    if missing:
        return f"Slurm is not installed here: {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "only root can start Slurm's daemons and make device files"


@dataclass
class SlurmCluster:
    """A running cluster. ``environment``: with which Slurm's commands find it."""

    root: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.root / "slurm.conf")}

    def run(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        ran = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, timeout=30)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def daemon(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a daemon in the foreground, and remember to stop it."""
        with (self.root / "daemons.log").open("ab") as log:
            process = subprocess.Popen(
                [str(PROGRAMS[name]), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root,
                env=os.environ | self.environment,
            )  # fmt: skip
        self.started.append(process)
        return process

    def node(self, name: str) -> subprocess.Popen[bytes]:
        """Start the slurmd of a node."""
        return self.daemon("slurmd", "-D", "-N", name, "-f", str(self.root / "slurm.conf"))

    def state(self, node: str) -> str:
        """The state of a node, as ``sinfo`` prints it."""
        return self.run("sinfo", "--noheader", "--nodes", node, "--format=%T")

    def stop(self) -> None:
        """End every process, and remove every file."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.run("scancel", "--user", "root")
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait(10)
        shutil.rmtree(self.root, ignore_errors=True)


def start() -> SlurmCluster:
    """A cluster whose two static nodes are idle."""
    root = Path(tempfile.mkdtemp(prefix="gpuplan-slurm-"))
    root.chmod(0o711)  # munged wants its socket within everybody's reach
    cluster = SlurmCluster(root)
    try:
        _write_files(root)
        munge = root / "munge"
        cluster.daemon("munged", "--foreground", f"--key-file={munge}/key", f"--socket={munge}/socket",
                       f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")  # fmt: skip
        until(lambda: (munge / "socket").exists(), "munged")
        cluster.daemon("slurmctld", "-D", "-c", "-f", str(root / "slurm.conf"))
        for name in STATIC:
            cluster.node(name)
        until(lambda: all(_idle(cluster, name) for name in STATIC), f"nodes of {root}")
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _idle(cluster: SlurmCluster, name: str) -> bool:
    try:
        return cluster.state(name) == "idle"
    except AssertionError:  # slurmctld does not answer yet
        return False


def until(true: Callable[[], bool], what: str, seconds: float = START_S) -> None:
    """Wait for something to become true; fails where it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what}: nothing after {seconds:g} s"
        time.sleep(0.05)


def _write_files(root: Path) -> None:
    munge, devices = root / "munge", root / "devices"
    munge.mkdir(mode=0o711)
    (munge / "key").write_bytes(os.urandom(64))
    (munge / "key").chmod(0o400)
    devices.mkdir()
    for number in range(max(GPUS.values())):
        os.mknod(devices / f"gpu{number}", 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # another /dev/null
    (root / "slurm.conf").write_text(_slurm_conf(root))
    gres = [f"NodeName={name} Name=gpu Type=h100 File={devices}/gpu[0-{count - 1}] Flags=nvidia_gpu_env"
            for name, count in GPUS.items()]  # fmt: skip
    (root / "gres.conf").write_text("\n".join(["AutoDetect=off", *gres]) + "\n")
    for name in ("resume", "suspend"):  # a cloud without capacity: it takes the order, and nothing happens
        (root / name).write_text("#!/bin/sh\n")
        (root / name).chmod(0o755)


def _slurm_conf(root: Path) -> str:
    host = socket.gethostname().split(".")[0]
    controller, *ports = _free_ports(1 + len(GPUS))
    nodes = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=1000 "
        f"Gres=gpu:h100:{count} State={'CLOUD' if name == CLOUD else 'UNKNOWN'}"
        for (name, count), port in zip(GPUS.items(), ports, strict=True)
    ]
    return "\n".join([
        "ClusterName=pretend", f"SlurmctldHost={host}(127.0.0.1)", f"SlurmctldPort={controller}",
        "SlurmUser=root", "AuthType=auth/munge", f"AuthInfo=socket={root}/munge/socket", "CredType=cred/munge",
        f"StateSaveLocation={root}/state", f"SlurmdSpoolDir={root}/spool-%n",
        f"SlurmctldPidFile={root}/slurmctld.pid", f"SlurmdPidFile={root}/slurmd-%n.pid",
        f"SlurmctldLogFile={root}/slurmctld.log", f"SlurmdLogFile={root}/slurmd-%n.log",
        "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "MpiDefault=none", "SwitchType=switch/none",
        "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core", "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=1,sched_interval=1", "GresTypes=gpu",
        "SlurmdParameters=config_overrides",  # more CPUs and GPUs than this machine has
        "ReturnToService=2", "KillWait=2", "MessageTimeout=3", "TCPTimeout=1", "JobRequeue=1", "MaxJobCount=1000",
        f"ResumeProgram={root}/resume", f"SuspendProgram={root}/suspend", f"ResumeTimeout={RESUME_TIMEOUT_S}",
        "SlurmctldParameters=power_save_interval=1,power_save_min_interval=0,idle_on_node_suspend",
        "SuspendTimeout=2", "SuspendTime=3600", f"SuspendExcNodes={','.join(STATIC)}",
        *nodes, f"PartitionName=gpu Nodes={','.join(GPUS)} Default=YES MaxTime=INFINITE State=UP", "",
    ])  # fmt: skip


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
