"""Scripts that start every rank of a training plan on its GPU: torchrun, Slurm, Open MPI. Pure: plan in, texts out.

Each takes the training command as its arguments. What they rely on is in ``shared/targets.md``, "Training".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from shlex import quote

from planner.render.training_ranks import about_hosts, agents, places
from planner.training.plan import Place, TrainingPlan

PORT = 29_500
"""torchrun's own default; ``MASTER_PORT`` overrides it."""

RANK_SH = f"""\
#!/usr/bin/env bash
# One rank, started by srun or mpirun. Its GPU is line RANK + 1 of gpu_of_rank.txt.
set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
export RANK="${{SLURM_PROCID:-${{OMPI_COMM_WORLD_RANK:?start this with srun or mpirun}}}}"
export WORLD_SIZE="$(wc -l < "$here/gpu_of_rank.txt")"
export LOCAL_RANK="$(sed -n "$((RANK + 1))p" "$here/gpu_of_rank.txt")"
export MASTER_ADDR="${{MASTER_ADDR:?}}" MASTER_PORT="${{MASTER_PORT:-{PORT}}}"
exec "$@"
"""


def torchrun(plan: TrainingPlan) -> dict[str, str]:
    """One line per host, each with its static node rank."""
    placed = places(plan, plan.ranked[0])
    return {"torchrun.sh": torchrun_script(placed, about_hosts(plan, placed))}


def torchrun_script(placed: Sequence[Place], about: str) -> str:
    """To be run on every host; a host whose ranks do not follow each other starts several agents."""
    started = agents(placed)
    lines: dict[str, list[str]] = {}
    for rank, agent in enumerate(started):
        lines.setdefault(agent.host, []).append(f"start {rank} {','.join(map(str, agent.gpus))}")
    cases = "\n".join(f"  {quote(host)}) {'; '.join(calls)} ;;" for host, calls in lines.items())
    return f"""\
#!/usr/bin/env bash
# On every host: ./torchrun.sh train.py ARGUMENTS. TRAINING_HOST names the host where `hostname -s` does not.
{about}set -euo pipefail
command=("$@")
agents=()
start() {{ # node rank, GPUs
  CUDA_VISIBLE_DEVICES="$2" torchrun --nnodes={len(started)} --nproc-per-node={len(started[0].gpus)} \\
    --node-rank="$1" --master-addr={quote(placed[0].node)} --master-port="${{MASTER_PORT:-{PORT}}}" "${{command[@]}}" &
  agents+=("$!")
}}
case "${{TRAINING_HOST:-$(hostname -s)}}" in
{cases}
  *) echo "the plan has no rank for this host" >&2; exit 1 ;;
esac
for agent in "${{agents[@]}}"; do wait "$agent"; done
"""


def slurm(plan: TrainingPlan) -> dict[str, str]:
    """A batch script whose tasks go to the hosts of a file, line by line."""
    placed = places(plan, plan.ranked[0])
    about = about_hosts(plan, placed)
    on_host = Counter(place.node for place in placed)
    nodes = "" if about else f"#SBATCH --nodelist={','.join(on_host)}\n"
    script = f"""\
#!/bin/bash
# sbatch train.sbatch python train.py ARGUMENTS, in the directory of these files.
#SBATCH --job-name=training
#SBATCH --nodes={len(on_host)}
#SBATCH --ntasks={len(placed)}
#SBATCH {_gpus_asked(plan, placed)}
#SBATCH --exclusive
{nodes}{about}set -euo pipefail
here="${{SLURM_SUBMIT_DIR:-.}}"
export SLURM_HOSTFILE="$here/hostfile.txt"
export MASTER_ADDR={quote(placed[0].node)} MASTER_PORT="${{MASTER_PORT:-{PORT}}}"
srun --distribution=arbitrary --ntasks={len(placed)} --kill-on-bad-exit=1 bash "$here/rank.sh" "$@"
date --utc > "$here/finished.txt"  # Slurm itself forgets a job minutes after its end
"""
    return {
        "train.sbatch": script,
        "hostfile.txt": "".join(f"{place.node}\n" for place in placed),
        **_rank_files(placed),
    }


def _gpus_asked(plan: TrainingPlan, placed: Sequence[Place]) -> str:
    """GPUs of each node; where the nodes differ, of all together, because Slurm takes one number for every node."""
    cluster = plan.spec.cluster
    sizes = [cluster.groups[group].gpus_per_node for group in cluster.group_of_node]
    hosts = {place.node for place in placed}
    used = [size for host, size in zip(cluster.host_names(), sizes, strict=True) if host in hosts]
    if len(set(used)) > 1:
        return f"--gpus={sum(used)}"
    return f"--gpus-per-node={max(place.gpu for place in placed) + 1}"


def openmpi(plan: TrainingPlan) -> dict[str, str]:
    """A rankfile, and the command that reads it."""
    placed = places(plan, plan.ranked[0])
    slots = Counter(place.node for place in placed)
    script = f"""\
#!/usr/bin/env bash
# ./mpirun.sh python train.py ARGUMENTS, in a directory that every host sees. Of Open MPI 5; 4 takes --rankfile FILE.
{about_hosts(plan, placed)}set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
export MASTER_ADDR={quote(placed[0].node)} MASTER_PORT="${{MASTER_PORT:-{PORT}}}"
# A slot is one core: without --bind-to none a rank would have to do with that.
exec mpirun -np {len(placed)} --hostfile "$here/hosts.txt" --map-by "rankfile:file=$here/rankfile.txt" --bind-to none \\
  -x MASTER_ADDR -x MASTER_PORT bash "$here/rank.sh" "$@"
"""
    return {
        "mpirun.sh": script,
        "rankfile.txt": "".join(f"rank {place.rank}={place.node} slot={place.gpu}\n" for place in placed),
        "hosts.txt": "".join(f"{host} slots={count}\n" for host, count in slots.items()),
        **_rank_files(placed),
    }


def _rank_files(placed: Sequence[Place]) -> dict[str, str]:
    return {"rank.sh": RANK_SH, "gpu_of_rank.txt": "".join(f"{place.gpu}\n" for place in placed)}
