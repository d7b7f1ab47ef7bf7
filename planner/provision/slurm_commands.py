"""Slurm's own commands: jobs and nodes as it sees them, submitting and cancelling. Argument lists only, never a shell.

Slurm finds its cluster by ``SLURM_CONF`` or its own defaults; account, partition and so on come from the ``SBATCH_*``
variables that ``sbatch`` itself reads.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.errors import ProvisioningFailed
from planner.provision.driver import Refused, Unreachable

TIMEOUT_S = 60.0
"""Of one command: Slurm's own clients give up after a few times ``MessageTimeout``, which is 10 s unless set."""

SETTLE_S = 90.0
"""For a job to end after it was told to: ``KillWait`` is 30 s unless set, and an epilog may follow."""
LOOK_EVERY_S = 0.25

ENDED = frozenset({"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
                   "PREEMPTED", "REVOKED", "TIMEOUT"})  # fmt: skip
"""States that a job stays in (``man squeue``, job state codes); in any other it waits, runs, or is about to."""

OUT = frozenset({"down", "drained", "draining", "error", "fail", "failing", "maint", "unknown"})
BUSY = frozenset({"allocated", "mixed", "reserved"})
"""States of a node that takes no jobs, and of one that others use (``man sinfo``, node state codes)."""

MARKS = "*~#!%$@^-"
"""Behind a node's state; ``*``: it does not answer."""

PASSED_ON = ("HOME", "LOGNAME", "PATH", "USER")
"""Of our environment, beside ``SLURM_*`` and ``SBATCH_*``: jobs inherit it, and no secret of ours belongs there."""

_NO_ANSWER = re.compile(
    r"contact slurm controller|timed out|connect failure|configuration source|Munge|Unable to connect"
)


@dataclass(frozen=True)
class Job:
    """A job of this user. ``reason``: why it waits or failed, in Slurm's words."""

    id: int
    state: str
    reason: str
    comment: str

    @property
    def ended(self) -> bool:
        """Whether it can never run again."""
        return self.state in ENDED


@dataclass(frozen=True)
class Node:
    """A node: its state without marks, whether it takes no jobs, and what is said of that ("": nothing)."""

    state: str
    out: bool
    reason: str


def jobs(job_name: str) -> list[Job]:
    """Jobs of this user and one name, oldest first; Slurm forgets them minutes after their end (``MinJobAge``)."""
    listed = _run("squeue", "--me", "--noheader", "--states=all", f"--name={job_name}", "--format=%A|%T|%r|%k")
    found = []
    for line in listed.splitlines():
        number, state, reason, comment = (*line.split("|", 3), "", "", "")[:4]
        if number.isdigit():
            found.append(Job(int(number), state, reason, comment))
    return sorted(found, key=lambda job: job.id)


def restarts(job: Job) -> int:
    """How often Slurm requeued a job; 0 where it no longer knows it."""
    try:
        told = _run("scontrol", "--oneliner", "show", "job", str(job.id))
    except Refused:
        return 0
    counted = re.search(r"\bRestarts=(\d+)", told)
    return int(counted[1]) if counted else 0


def nodes(names: Sequence[str]) -> dict[str, Node]:
    """The nodes of these names that Slurm shows; a cloud node that is off is not shown, as is one it does not know."""
    listed = _run("sinfo", "--Node", "--noheader", f"--nodes={','.join(names)}", "--format=%N|%T|%E")
    found = {}
    for line in listed.splitlines():
        name, state, reason = (*line.split("|", 2), "", "")[:3]
        bare = state.rstrip(MARKS)
        silent = "*" in state
        said = "it does not answer" if silent and reason == "none" else reason
        found[name] = Node(bare, silent or bare in OUT, "" if said == "none" else said)
    return found


def submit(folder: Path, job_name: str, comment: str, script: str, command: Sequence[str]) -> int:
    """Submit a script that lies in ``folder``, to be run there with ``command`` as its arguments; the job's number."""
    # Jobs of one name never run at once: should two ever be submitted, the second waits, and is found and cancelled.
    told = _run("sbatch", "--parsable", f"--job-name={job_name}", f"--comment={comment}", "--dependency=singleton",
                "--requeue", script, *command, cwd=folder)  # fmt: skip
    return int(told.partition(";")[0])


def would_refuse(script: str) -> str:
    """Why Slurm would not take the text of a batch script now; "" where it would."""
    try:
        _run("sbatch", "--test-only", text=script, cwd=Path("/"))
    except Refused as refused:
        return refused.detail
    return ""


def cancel(job_name: str, unwanted: Sequence[Job]) -> None:
    """Cancel jobs of one name, and wait for their end. ``ProvisioningFailed`` where that takes long (``SETTLE_S``)."""
    if unwanted:
        _run("scancel", *(str(job.id) for job in unwanted))
        numbers = {job.id for job in unwanted}
        _wait(job_name, lambda job: job.id in numbers and not job.ended)


def settle(job_name: str) -> None:
    """Wait until no job is ``COMPLETING``: only then does Slurm know whether it ended or is to run again."""
    _wait(job_name, lambda job: job.state == "COMPLETING")


def _wait(job_name: str, for_end_of: Callable[[Job], bool]) -> None:
    deadline = time.monotonic() + SETTLE_S
    while left := [str(job.id) for job in jobs(job_name) if for_end_of(job)]:
        if time.monotonic() > deadline:
            raise ProvisioningFailed(f"Slurm still ends job {', '.join(left)} after {SETTLE_S:g} s",
                                     fix="look at its nodes with `sinfo -R`; the same command goes on")  # fmt: skip
        time.sleep(LOOK_EVERY_S)


def _run(program: str, *arguments: str, text: str | None = None, cwd: Path | None = None) -> str:
    """What a command prints; ``Refused`` with what it says where it fails, ``Unreachable`` where Slurm is not there."""
    found = shutil.which(program)
    if found is None:
        raise ProvisioningFailed(f"Slurm's {program} is not installed here",
                                 fix="run this where jobs are submitted, or install Slurm's clients")  # fmt: skip
    environment = {key: value for key, value in os.environ.items()
                   if key in PASSED_ON or key.startswith(("SLURM_", "SBATCH_"))}  # fmt: skip
    try:
        ran = subprocess.run(  # noqa: S603  (a list of arguments: names, numbers and paths of our own)
            [found, *arguments], input=text or "", env=environment, cwd=cwd, capture_output=True, text=True,
            errors="replace", timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unreachable(f"Slurm's {program} did not answer within {TIMEOUT_S:g} s") from None
    except OSError as error:
        raise ProvisioningFailed(f"{program} cannot be run: {error.strerror}") from None
    if ran.returncode == 0:
        return ran.stdout.strip()
    said = [line.partition("error: ")[2] or line for line in ran.stderr.strip().splitlines()]
    detail = "; ".join(dict.fromkeys(said)) or f"it ended with {ran.returncode}"
    if _NO_ANSWER.search(detail):
        raise Unreachable(f"Slurm does not answer: {detail}", fix="`scontrol ping` must say that slurmctld is up")
    raise Refused(f"{program}: {detail}")
