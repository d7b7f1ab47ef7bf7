"""The Slurm target: a training plan is one batch job on the nodes that the plan names, its ranks in the plan's order.

``DIR`` is a folder that every node sees. ``DIR/train.sh`` is the user's: it starts the trainer of one rank, which
finds RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set, and beside it, in its working directory, the flags
of the plan's degrees (``megatron_flags.sh`` and so on). What is submitted lies in ``DIR/NAME/DIGEST``, with the job's
output. The job carries gpuplan's name and the digest of its files as its comment: it is found by these before anything
is submitted, so that a crash between submitting and writing that down starts nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from functools import partial
from pathlib import Path

from planner.errors import InvalidInput, ProvisioningFailed
from planner.provision import slurm_commands as slurm
from planner.provision.driver import Document, Driver, Objects, Preview, Refused, UnitState
from planner.provision.names import checked_name
from planner.provision.slurm_commands import Job, Node
from planner.render.targets import render_plan
from planner.render.training_ranks import MADE_UP
from planner.training.plan import TrainingPlan
from planner.training.spec import Framework

KIND = "SlurmJob"

FOLDER_VARIABLE, FOLDER = "GPUPLAN_SLURM_DIR", ".gpuplan/slurm"
"""In the folder that a command runs in, as the local target's is."""

TRAINER, SCRIPT, RECORD, FINISHED = "train.sh", "train.sbatch", "job.json", "finished.txt"
"""The user's script; then in a job's folder: what is submitted, the object as it was put, and what the
script writes once every rank ended well."""

FLAGS: dict[Framework, str] = {"megatron-lm": "megatron", "megatron-deepspeed": "deepspeed", "fsdp": "torchtitan"}
"""The render target whose flags say a configuration to its trainer."""


def slurm_driver(where: str) -> Driver:
    """The driver of the Slurm that this machine submits to, with the folder ``where``."""
    root = Path(where or os.environ.get(FOLDER_VARIABLE) or FOLDER).resolve()
    return Driver(
        target=f"slurm:{root}",
        routes=lambda document: False,  # noqa: ARG005  (training serves nobody)
        desired=partial(_desired, root),
        actual=partial(_actual, root),
        preview=partial(_preview, root),
        put=partial(_put, root),
        remove=partial(_remove, root),
        ready=partial(_ready, root),
        plans="training",
    )


def _desired(root: Path, plan: TrainingPlan, name: str) -> Objects:
    files = render_plan(plan, "slurm") | _flags(plan)
    if MADE_UP in files[SCRIPT]:
        raise InvalidInput("names no nodes, and Slurm is asked for nodes by name", field="cluster.groups.hosts",
                           fix="give `hosts` as `sinfo -N` lists them, and plan again")  # fmt: skip
    spec = {
        "command": ["bash", str(root / TRAINER)],
        "ranks_on": dict(Counter(files["hostfile.txt"].split())),
        "files": files,
    }
    return {f"{KIND}/{name}": {"kind": KIND, "name": checked_name(name), "spec": spec}}


def _flags(plan: TrainingPlan) -> dict[str, str]:
    """Files with the flags of the plan's best configuration; none where its trainer's flags cannot say it."""
    best = plan.model_copy(update={"ranked": plan.ranked[:1]})
    try:
        files = render_plan(best, FLAGS[plan.ranked[0].framework])
    except InvalidInput:
        return {}
    return {name: text for name, text in files.items() if name.endswith(("_flags.sh", ".json"))}


def _digest(document: Document) -> str:
    return hashlib.sha256(json.dumps(document["spec"], sort_keys=True).encode()).hexdigest()[:16]


def _folder(root: Path, document: Document) -> Path:
    return root / checked_name(document["name"]) / _digest(document)


def _job_name(root: Path, name: str) -> str:
    """Jobs of one name never run at once, so those of another folder must be called otherwise."""
    return f"gpuplan-{name}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"


def _comment(name: str, digest: str) -> str:
    return f"gpuplan {name} {digest}"


def _jobs(root: Path, name: str) -> list[Job]:
    """Every job that carries our label, oldest first."""
    found = slurm.jobs(_job_name(root, checked_name(name)))
    return [job for job in found if job.comment.startswith(_comment(name, ""))]


def _records(root: Path, name: str) -> list[Path]:
    """Folders of what was put under a name and not removed, oldest first."""
    return [path.parent for path in sorted((root / checked_name(name)).glob(f"*/{RECORD}"), key=_changed_at)]


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime


def _recorded(folder: Path) -> Document:
    """The object as it was put, with its files as they are now."""
    path = folder / RECORD
    try:
        document: Document = json.loads(path.read_text(encoding="utf-8"))
        files = {file: folder / file for file in document["spec"]["files"]}
        document["spec"]["files"] = {file: at.read_text(encoding="utf-8") for file, at in files.items() if at.exists()}
    except (OSError, ValueError, KeyError, TypeError):
        raise ProvisioningFailed(f"{path} cannot be read: it records what gpuplan submitted",
                                 fix=f"move {folder} away; `scancel` its job") from None  # fmt: skip
    return document


def _job_of(folder: Path, jobs: list[Job]) -> Job | None:
    """The newest job of what lies in a folder; None where Slurm knows none (any more)."""
    return next((job for job in reversed(jobs) if job.comment.endswith(f" {folder.name}")), None)


def _finished(folder: Path) -> bool:
    return (folder / FINISHED).exists()


def _how_it_ended(folder: Path, job: Job | None) -> str:
    """Why nothing trains here though it should; "" where something does, or waits to, or training is over."""
    if _finished(folder) or (job is not None and not job.ended):
        return ""
    return f"job {job.id} ended as {job.state} ({job.reason})" if job else "no job is left, and it did not finish"


def _actual(root: Path, name: str) -> Objects:
    records = _records(root, name)
    if not records:
        return {}
    document = _recorded(records[-1])
    ended = _how_it_ended(records[-1], _job_of(records[-1], _jobs(root, name)))
    if ended:
        document["spec"]["ended"] = ended  # so it differs from what is wanted, and the next apply submits it again
    return {f"{KIND}/{name}": document}


def _preview(root: Path, name: str, document: Document, take_over: bool) -> Preview:  # noqa: ARG001
    if not (root / TRAINER).is_file():
        return Preview(document, f"{root / TRAINER} is missing: it starts the trainer of one rank, which finds RANK, "
                                 "WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set")  # fmt: skip
    refusal = slurm.would_refuse(document["spec"]["files"][SCRIPT])
    hosts = list(document["spec"]["ranks_on"])
    if "not available" in refusal and any(node is None or node.out for node in map(slurm.nodes(hosts).get, hosts)):
        return Preview(document)  # Slurm says so of nodes that are down too, and lets a job wait for them
    return Preview(document, refusal)


def _put(root: Path, name: str, document: Document, take_over: bool) -> None:
    obstacle = _preview(root, name, document, take_over).obstacle
    if obstacle:
        raise Refused(obstacle)
    job_name, folder = _job_name(root, name), _folder(root, document)
    slurm.settle(job_name)
    jobs = [job for job in _jobs(root, name) if not job.ended]
    same = [job for job in jobs if job.comment == _comment(name, folder.name)]
    kept = next((job for job in same if job.state != "PENDING"), same[0] if same else None)
    slurm.cancel(job_name, [job for job in jobs if job != kept])
    for other in _records(root, name):
        if other != folder:
            _forget(other)
    _write(folder, document)
    if kept is None and not _finished(folder):
        slurm.submit(folder, job_name, _comment(name, folder.name), SCRIPT, document["spec"]["command"])


def _write(folder: Path, document: Document) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in document["spec"]["files"].items():
            (folder / name).write_text(text, encoding="utf-8")
        beside = folder / f"{RECORD}.part"
        beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        beside.replace(folder / RECORD)
    except OSError as error:
        raise ProvisioningFailed(f"{folder} cannot be written: {error.strerror}") from None


def _forget(folder: Path) -> None:
    """Remove what was written into a folder; what the job left there, such as its output, stays."""
    for name in (*_recorded(folder)["spec"]["files"], FINISHED, RECORD):
        (folder / name).unlink(missing_ok=True)


def _remove(root: Path, name: str, key: str) -> None:
    if key != f"{KIND}/{name}":
        return
    slurm.cancel(_job_name(root, name), [job for job in _jobs(root, name) if not job.ended])
    for folder in _records(root, name):
        _forget(folder)


def _ready(root: Path, name: str) -> tuple[UnitState, ...]:
    """One unit for each node, and its ranks: they start together, or wait together for the nodes that are missing."""
    records = _records(root, name)
    if not records:
        return ()
    folder, ranks_on = records[-1], _recorded(records[-1])["spec"]["ranks_on"]
    shown = slurm.nodes(list(ranks_on))  # before the job: nodes that it gets meanwhile are not others'
    job = _job_of(folder, _jobs(root, name))
    key, ended = f"{KIND}/{name}", _how_it_ended(folder, job)
    if ended:
        return tuple(UnitState(key, host, ranks, 0, f"{ended}: see {folder}") for host, ranks in ranks_on.items())
    if job is None or job.state == "RUNNING" or _finished(folder):
        return tuple(UnitState(key, host, ranks, ranks) for host, ranks in ranks_on.items())
    requeued = slurm.restarts(job)
    return tuple(UnitState(key, host, ranks, 0, *_why_not(job, requeued, shown.get(host)))
                 for host, ranks in ranks_on.items())  # fmt: skip


def _why_not(job: Job, requeued: int, node: Node | None) -> tuple[str, bool]:
    """Why the ranks of a node do not run while their job waits; whether for lack of this node."""
    if job.state in ("CONFIGURING", "COMPLETING"):
        return f"job {job.id} {'waits for its nodes to boot' if job.state == 'CONFIGURING' else 'is ending'}", False
    if node is None and job.reason.startswith("ReqNodeNotAvail"):
        return "the node is off, and Slurm gave it up", True
    if node is None and requeued:
        return f"the node is off: it did not come up for job {job.id}, which was put back ({requeued}×)", True
    if node is not None and node.out:
        return f"the node is {node.state}{f' ({node.reason})' if node.reason else ''}", True
    if node is not None and node.state in slurm.BUSY:
        return "other jobs have the node", True
    return f"job {job.id} waits ({job.reason})", False
