"""What is left of training when GPUs fail: checkpoint interval and goodput.

With failures at random (mean time between failures M of the whole cluster), work τ, a checkpoint of δ seconds after it,
and R seconds to restart, a segment takes on average

    E(τ) = (M + R) · (exp((τ + δ) / M) − 1)

(Daly, Future Generation Computer Systems 2006, section 3, restarts after each failure), of which τ is of use. Best is
where d/dτ [τ / E(τ)] = 0: (1 − τ/M) · exp((τ + δ)/M) = 1, which Lambert's W solves: τ = M · (1 + W(−exp(−1 − δ/M))).
"""

from __future__ import annotations

import numpy as np
from scipy.special import lambertw

from planner.training.plan import Goodput
from planner.training.spec import Failures

BYTES_PER_PARAMETER = 14.0
"""Of a checkpoint of mixed-precision Adam: bf16 weights, and fp32 weights and two moments."""

SHORTEST_S = 1.0
SHORT = 1e-9
"""Share of the mean time between failures below which a checkpoint counts as short."""


def goodput(num_parameters: float, num_gpus: int, failures: Failures) -> Goodput:
    """The checkpoint interval that loses least, and the share of time that is of use with it."""
    checkpoint_gb = num_parameters * BYTES_PER_PARAMETER / 1e9
    write_s = checkpoint_gb / failures.storage_gb_per_s
    blocking_s = write_s * failures.blocking_share
    restart_s = failures.restart_s + write_s  # what was written is read again
    mtbf_s = failures.mtbf_gpu_hours * 3600 / num_gpus
    every_s = best_interval_s(mtbf_s, blocking_s)
    return Goodput(
        mtbf_hours=mtbf_s / 3600,
        checkpoint_gib=num_parameters * BYTES_PER_PARAMETER / 2**30,
        checkpoint_s=blocking_s,
        checkpoint_every_s=every_s,
        restart_s=restart_s,
        goodput_fraction=useful_share(every_s, mtbf_s, blocking_s, restart_s),
    )


def best_interval_s(mtbf_s: float, checkpoint_s: float) -> float:
    """Seconds of work between checkpoints that lose least; √(2·δ·M) when δ is short (Young, CACM 1974)."""
    if checkpoint_s < SHORT * mtbf_s:  # where W loses its digits
        return max(float(np.sqrt(2 * checkpoint_s * mtbf_s)), SHORTEST_S)
    branch = float(np.real(lambertw(-np.exp(-1 - checkpoint_s / mtbf_s))))
    return max(mtbf_s * (1 + branch), SHORTEST_S)


def useful_share(work_s: float, mtbf_s: float, checkpoint_s: float, restart_s: float) -> float:
    """Share of all time that is work which is kept."""
    exponent = (work_s + checkpoint_s) / mtbf_s
    if exponent > 500:
        return 0.0
    return work_s / ((mtbf_s + restart_s) * float(np.expm1(exponent)))
