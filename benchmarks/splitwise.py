"""Splitwise's comparison of cluster designs (Patel et al., ISCA 2024, sections 5 and 6), replayed on its conversations.

Four kinds of clusters serve one model on eight-GPU machines: Baseline-A100 and Baseline-H100, where every machine does
both phases (mixed continuous batching), and Splitwise-AA, -HH, -HA (prompts on H100, tokens on A100) and -HHcap (token
machines under a power cap). For each within the power of 40 DGX-H100 this finds the split and the highest request rate
that keep all nine SLOs, and prints goodput per machine, dollar and kW, and the two published ratios beside ours: 1.4×
throughput at 20% lower cost, 2.35× at equal cost and power. Which cluster the paper compares with there is not in our
data, so both baselines are shown. Rates of other budgets are in proportion to machines, at the same split.

Assumptions:

- Iterations are ``PerformanceModel.iteration`` fitted to Splitwise's measured rows (TP 8, fp16; synthetic ``-pcap``
  rows are never read). An iteration with prompts only takes what the model predicts for one prompt alone, and keeps the
  engine busy for all of it, as it does in those rows: ``a + b · tokens + c · tokens²`` is fitted to the predictions.
- What context costs a token was measured for one request at a time, and batches at 512 + 128 tokens only: ratios are
  printed for the model's own slope, for the slope of the rows of one request, and for none.
- SLOs: slowdown against the same request alone on a DGX-A100, P50/P90/P99: TTFT 2/3/6, TBT and E2E 1.25/1.5/5. TBT is
  the mean of a request over its tokens, KV transfer included. Requests that do not end are infinitely slow.
- Machines (the paper's table 1): DGX-A100 17.6 $/h, 200 Gb/s; DGX-H100 38 $/h (2.16×), 1.75× the power, 400 Gb/s. A
  DGX-A100 is rated 6.5 kW. Other ratios are printed: 2.35× and 2.5× the cost; 10.2 / 6.5 kW, as both are rated. A
  capped H100 machine counts as 1.23 / 1.75 of an H100 machine, its GPUs held at half their TDP
  (``profiles.performance.capping``, itself an assumption).
- KV caches leave layer by layer while the prompt is computed (section 4.3), over the slower of the two links.
- Traffic: the start of the conversation trace, multiplied. The coding trace is not available; lengths "like code" are
  conversations scaled to the medians that the paper gives for it (1500 and 13 tokens).
- Queues: shortest first. Machines keep their role: the paper's mixed pool, into which overloaded machines move, is not
  there. Prompt machines take 2048 tokens per iteration and may cut the last prompt of a batch. Baselines run whole
  prompts, as in the paper, and once in chunks within the same 2048 tokens, as engines do since.

    python benchmarks/splitwise.py [--quick] [--model bigscience/bloom] [--seeds 2]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from splitwise_replays import (
    A100,
    BASELINES,
    CHUNKED,
    DATA,
    H100,
    SPLITS,
    Budget,
    Cluster,
    Context,
    Design,
    Engines,
    Machine,
    Replays,
    Workload,
    print_fit,
    splitwise_rows,
)  # fmt: skip

PRECISION = 1.01
"""The highest rate is found to this factor."""


@dataclass(frozen=True)
class Best:
    """The highest rate of a design, the cluster that reaches it, and what it misses just above."""

    cluster: Cluster
    requests_per_s: float
    binding: str

    def within(self, budget: Budget) -> float:
        """Rate of a smaller or larger cluster of the same split: rates are in proportion to machines."""
        size = min(budget.usd_per_h / self.cluster.usd_per_h, budget.kw / self.cluster.kw)
        return size * self.requests_per_s


def best(replays: Replays, clusters: Sequence[Cluster], guess: Best | None = None, seed: int = 0) -> Best:
    """Search the rate by bisection; at each, the split: more prompt machines where TTFT is missed, else fewer."""
    at, rate, step = (len(clusters) - 1) // 2, float(clusters[0].machines), 2.0
    if guess is not None:
        at = min(range(len(clusters)), key=lambda k: abs(clusters[k].prompts - guess.cluster.prompts))
        rate, step = guess.requests_per_s, 1.06
    good, bad, binding = 0.0, np.inf, ""
    while bad > PRECISION * good:
        where, why = _split_that_meets(replays, clusters, at, rate, seed)
        if where is None:
            bad, binding = rate, why
        else:
            good, at = rate, where
        rate = good * step if bad == np.inf else bad / step if good == 0 else float(np.sqrt(good * bad))
        if rate < 1e-3:
            break
    return Best(clusters[at], good, binding)


def _split_that_meets(
    replays: Replays, clusters: Sequence[Cluster], at: int, rate: float, seed: int
) -> tuple[int | None, str]:
    """Position of a cluster that meets all SLOs at ``rate``; with None, what the last two that were tried miss."""
    low, high = 0, len(clusters) - 1
    reasons: list[str] = []
    while low <= high:
        at = min(max(at, low), high)
        missed = replays.missed(clusters[at], rate, seed)
        if not missed:
            return at, ""
        reasons.append(next(iter(missed.values())))
        if "TTFT" in missed and "TBT" in missed:
            break
        low, high = (at + 1, high) if "TTFT" in missed else (low, at - 1)
        at = (low + high) // 2
    return None, " / ".join(dict.fromkeys(reasons[-2:]))


Table = dict[str, Best]
"""By name of the design."""


def searched(replays: Replays, budget: Budget, designs: Sequence[Design], guesses: Table | None = None) -> Table:
    """The best cluster of each design within ``budget``."""
    return {d.name: best(replays, budget.clusters(d), (guesses or {}).get(d.name)) for d in designs}


def repriced(found: Best, cost_ratio: float, power_ratio: float) -> Best:
    """The same cluster with other H100 machines, as multiples of DGX-A100."""

    def new(machine: Machine) -> Machine:
        if machine.gpu == A100.gpu:
            return machine
        return replace(machine, usd_per_h=cost_ratio * A100.usd_per_h, kw=power_ratio * A100.kw * machine.kw / H100.kw)

    design = found.cluster.design
    design = replace(design, prompt=new(design.prompt), token=design.token and new(design.token))
    return replace(found, cluster=replace(found.cluster, design=design))


def print_table(found: Table) -> None:
    print("  design           machines requests/s /machine /1000 $/h /100 kW  misses next")
    for name, b in found.items():
        c, rate = b.cluster, b.requests_per_s
        each = f"{rate / c.machines:8.2f} {1e3 * rate / c.usd_per_h:9.1f} {1e2 * rate / c.kw:7.1f}"
        print(f"  {name:15} {c!s:>9} {rate:10.1f} {each}  {b.binding}")


def print_headings() -> None:
    budgets = f"{'-20% cost':12}{'= cost, kW':14}"
    print(f"\nRatios of goodput{'':32} {'against Baseline-A100':26}{'against Baseline-H100':26}splitting alone")
    print(f"  {'':47}{budgets}{budgets}  A100   H100")
    print(f"  {'published, against unnamed clusters':47}" + 2 * f"{1.4:<12.2f}{2.35:<14.2f}")


def print_ratios(label: str, found: Table) -> None:
    """One line: the best Splitwise design against either baseline, and splitting with nothing else changed."""
    told = ""
    for against in (found[design.name] for design in BASELINES):
        cost, kw, rate = against.cluster.usd_per_h, against.cluster.kw, against.requests_per_s
        for budget, width in ((Budget(0.8 * cost, kw), 7), (Budget(cost, kw), 9)):
            name = max((d.name for d in SPLITS), key=lambda name: found[name].within(budget))
            told += f"{found[name].within(budget) / rate:4.2f} {name.removeprefix('Splitwise-'):{width}}"
    for split, whole in (("Splitwise-AA", "Baseline-A100"), ("Splitwise-HH", "Baseline-H100")):
        told += f" {found[split].requests_per_s / found[whole].requests_per_s:5.2f} "
    print(f"  {label:46} {told}", flush=True)


def print_crowds(every: dict[str, Engines], workload: Workload) -> None:
    """How many requests may decode together within 1.25 times an A100 alone."""
    context = workload.mean_tokens[0] + workload.mean_tokens[1] / 2
    print(f"Requests of {context:.0f} tokens that decode together within 1.25 × the token time of an A100 alone:")
    for name, which in every.items():
        told = []
        for machine in (A100, H100):
            cost = which.of(machine)
            step = cost.decode_ms + np.arange(len(cost.decode_ms)) * context * cost.kv_ms_per_token
            limit = 1.25 * token_alone_ms(which, A100, workload)
            told.append(f"{int((step[1:] <= limit).sum()):3} on {machine.name} ({1e6 * cost.kv_ms_per_token:.0f} ns)")
        print(f"  {name:36} {', '.join(told)}")


def print_published(every: dict[str, Engines], workload: Workload) -> None:
    """The clusters with which the paper serves 70 conversations per second."""
    print("\nHighest rate of the paper's clusters for 70 conversations/s")
    for name, which in every.items():
        found = [best(Replays(which, workload), [Cluster(design, 25, tokens)])
                 for design, tokens in ((SPLITS[1], 15), (SPLITS[2], 26))]  # fmt: skip
        told = [f"{b.cluster.design.name} {b.cluster} {b.requests_per_s:5.1f}" for b in found]
        print(f"  {name:36} {', '.join(told)}", flush=True)


def print_reasons(engines: Engines, own: Table, workload: Workload) -> None:
    """Where the ratios come from."""
    old, new = (own[design.name] for design in BASELINES)
    equal = new.within(Budget(old.cluster.usd_per_h, old.cluster.kw)) / old.requests_per_s
    print(f"\nAt equal cost and power, unsplit H100 machines do {equal:.2f} times what unsplit A100 machines do.")
    print(f"The median request may get a token every {1.25 * token_alone_ms(engines, A100, workload):.0f} ms.")
    for machine in (A100, H100):
        cost = engines.of(machine)
        beside = float(cost.prompt_ms(np.array(workload.mean_tokens[0])))
        print(
            f"  {machine.name}: a token takes {token_alone_ms(engines, machine, workload):.0f} ms alone; a mean prompt "
            f"{beside:.0f} ms beside decoding, {beside + cost.decode_ms[0]:.0f} ms where it shares no iteration with it"
        )


def token_alone_ms(engines: Engines, machine: Machine, workload: Workload) -> float:
    """Milliseconds per token of a mean request alone on ``machine``."""
    cost = engines.of(machine)
    return float(cost.decode_ms[1] + cost.kv_ms_per_token * (workload.mean_tokens[0] + workload.mean_tokens[1] / 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the machines, five minutes, fewer questions")
    parser.add_argument("--model", default="meta-llama/Llama-2-70b-hf", help="or bigscience/bloom")
    parser.add_argument("--seeds", type=int, default=2, help="how often the first table is searched")
    arguments = parser.parse_args()
    if not DATA.exists():
        print("skipped: shared/data is not here")
        return
    started, rows = time.perf_counter(), splitwise_rows()
    engines, by_rows, blind = (Engines(arguments.model, rows, context) for context in get_args(Context))
    workload = Workload(300.0 if arguments.quick else 900.0)
    budget = Budget(kw=(10 if arguments.quick else 40) * H100.kw)
    print(f"{arguments.model}, TP 8, fp16: mean error of iterations against Splitwise's medians")
    print_fit(engines)
    every = {"token of context costs as learned": engines, "as in rows of one request": by_rows, "nothing": blind}
    print_crowds(every, workload)

    print(f"\nGoodput within {budget.kw:.0f} kW: {workload}")
    own = searched(Replays(engines, workload), budget, (*BASELINES, *CHUNKED, *SPLITS))
    print_table(own)
    if not arguments.quick:
        print_seeds(engines, workload, budget, own, arguments.seeds)

    print_headings()
    print_ratios("as above", own)
    for cost, power in ((2.35, 1.75), (2.5, 1.75), (H100.usd_per_h / A100.usd_per_h, 10.2 / 6.5)):
        label = f"H100 machine at {cost:.2f} × cost, {power:.2f} × power"
        print_ratios(label, {name: repriced(b, cost, power) for name, b in own.items()})
    designs = (*BASELINES, *SPLITS)
    code = replace(workload, like_code=True)
    like_code = searched(Replays(engines, code), budget, designs)
    print_ratios(f"lengths like code ({code.mean_tokens[0]:.0f} + {code.mean_tokens[1]:.0f} tokens)", like_code)
    if not arguments.quick:
        each = searched(Replays(engines, workload, each_token=True), budget, BASELINES, own)
        print_ratios("TBT of baselines between any two tokens", own | each)
        poisson = Replays(engines, replace(workload, poisson=True))
        print_ratios("Poisson arrivals", searched(poisson, budget, designs, own))
        print_ratios("context as in rows of one request", searched(Replays(by_rows, workload), budget, designs, own))
        print_ratios("context costs nothing", searched(Replays(blind, workload), budget, designs, own))
        print("\nLengths like code:")
        print_table(like_code)
        print_published(every, workload)
    print_reasons(engines, own, workload)
    print(f"\n{time.perf_counter() - started:.0f} s")


def print_seeds(engines: Engines, workload: Workload, budget: Budget, own: Table, seeds: int) -> None:
    """How far other draws of the multiplied trace move the rates."""
    moves = []
    for seed in range(1, seeds):
        for design in (*BASELINES, *SPLITS):
            found = best(Replays(engines, workload), budget.clusters(design), own[design.name], seed)
            moves.append(found.requests_per_s / own[design.name].requests_per_s - 1)
    if moves:
        print(f"  other seeds move these rates by {min(moves):+.1%} to {max(moves):+.1%}, found to {PRECISION - 1:.0%}")


if __name__ == "__main__":
    main()
