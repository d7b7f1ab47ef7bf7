"""Splitwise's machines, what iterations cost on them, and replays judged by its SLOs, for ``splitwise.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from planner.simulate import (
    Chunk,
    Link,
    Options,
    Pool,
    Sizes,
    Traffic,
    generated,
    simulate_pools,
    sizes_of_trace,
    traffic_of_trace,
)
from planner.simulate.state import COMPLETED, Records
from profiles.catalogue import load
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.performance import Iteration, PerformanceModel
from profiles.performance.capping import DECODING, Cap, capped
from profiles.types import Facts, Layout, Measurement

DATA = next((p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").exists()), Path("shared/data"))
TRACE = DATA / "traces/azure_llm_2023_conv.csv"
MEASURED = DATA / "serving/splitwise_latency_power_measured.csv"

Floats = NDArray[np.float64]
Metric = Literal["TTFT", "TBT", "E2E"]
QUANTILES = (0.5, 0.9, 0.99)
SLO: dict[Metric, tuple[float, float, float]] = {"TTFT": (2, 3, 6), "TBT": (1.25, 1.5, 5), "E2E": (1.25, 1.5, 5)}

WARM_UP_S = 60.0
MOST_PROMPT_TOKENS = 2048
"""Per iteration of a prompt machine: beyond, throughput falls (section 4.2)."""

CODE_TOKENS = 1500.0, 13.0
"""Medians of prompts and answers in the coding trace (section 3.1)."""

LONGEST_MEASURED = 8192


@dataclass(frozen=True)
class Machine:
    """One server of eight GPUs."""

    name: str
    gpu: str
    usd_per_h: float
    kw: float
    link_gb_per_s: float
    gpu_cap_w: float = np.inf


A100 = Machine("A100", "A100-80GB", 17.6, 6.5, 25.0)
H100 = Machine("H100", "H100", 38.0, 1.75 * 6.5, 50.0)
CAPPED = replace(H100, name="H100cap", kw=1.23 * 6.5, gpu_cap_w=350.0)


@dataclass(frozen=True)
class Design:
    """``token`` is None where every machine does both phases."""

    name: str
    prompt: Machine
    token: Machine | None = None
    whole_prompts: bool = False


BASELINES = (Design("Baseline-A100", A100, whole_prompts=True), Design("Baseline-H100", H100, whole_prompts=True))
CHUNKED = (Design("Chunked-A100", A100), Design("Chunked-H100", H100))
SPLITS = (
    Design("Splitwise-AA", A100, A100), Design("Splitwise-HH", H100, H100), Design("Splitwise-HA", H100, A100),
    Design("Splitwise-HHcap", H100, CAPPED),
)  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """Machines of a design: those that do prompts (or both phases), and those that do tokens."""

    design: Design
    prompts: int
    tokens: int = 0

    @property
    def machines(self) -> int:
        return self.prompts + self.tokens

    @property
    def usd_per_h(self) -> float:
        token = self.design.token
        return self.prompts * self.design.prompt.usd_per_h + (self.tokens * token.usd_per_h if token else 0.0)

    @property
    def kw(self) -> float:
        token = self.design.token
        return self.prompts * self.design.prompt.kw + (self.tokens * token.kw if token else 0.0)

    def __str__(self) -> str:
        return f"{self.prompts}P+{self.tokens}T" if self.design.token else f"{self.prompts}"


@dataclass(frozen=True)
class Budget:
    """What a cluster may cost and draw."""

    usd_per_h: float = np.inf
    kw: float = np.inf

    def clusters(self, design: Design) -> list[Cluster]:
        """The largest ones within, one per number of prompt machines, in ascending order of it."""
        if design.token is None:
            return [Cluster(design, self._affords(design.prompt))]
        splits = [
            Cluster(design, p, replace(self, usd_per_h=self.usd_per_h - p * design.prompt.usd_per_h,
                                       kw=self.kw - p * design.prompt.kw)._affords(design.token))
            for p in range(1, self._affords(design.prompt) + 1)
        ]  # fmt: skip
        return [cluster for cluster in splits if cluster.tokens > 0]

    def _affords(self, machine: Machine) -> int:
        return int(min(self.usd_per_h / machine.usd_per_h, self.kw / machine.kw) + 1e-9)


def splitwise_rows() -> list[Measurement]:
    """Splitwise's own measurements, repeats included."""
    return list(read("splitwise", MEASURED, KnownNames.of(load())).batch.measurements)


def layout_of(model: str, gpu: str) -> Layout:
    return Layout(model=model, gpu=gpu, tp=8, precision="fp16", engine="vllm")


Point = tuple[float, float, float]
"""Input tokens, output tokens, requests in the batch."""


Context = Literal["learned", "measured", "ignored"]
"""What a longer context costs a token: as the performance model has it, as the rows with one request show, nothing."""

PROMPT_TOKENS = 128.0 * 2 ** np.arange(7)
"""Lengths at which prompts were measured."""


class Engines:
    """What iterations of ``model`` cost on each machine, and what was measured of it."""

    def __init__(self, model: str, rows: Sequence[Measurement], context: Context = "learned") -> None:
        catalogue = load()
        self._facts = Facts(gpus=catalogue.gpus, models=catalogue.models, measurements=(*catalogue.measurements, *rows))
        self._performance = PerformanceModel(self._facts)
        self.model, self._rows, self._context = model, rows, context
        card = KnownNames.of(self._facts).model_card(model)
        assert card is not None
        self.num_layers = card.num_layers
        self._found: dict[Machine, Iteration] = {}

    def of(self, machine: Machine) -> Iteration:
        """Iterations on ``machine``: one that only has prompts takes ``decode_ms[0]`` besides their tokens."""
        if machine not in self._found:
            self._found[machine] = self._new(machine)
        return self._found[machine]

    def _new(self, machine: Machine) -> Iteration:
        layout = layout_of(self.model, machine.gpu)
        learned = self._performance.iteration(layout)
        times, kv = learned.decode_ms.copy(), learned.kv_ms_per_token
        if self._context != "learned":
            times[1:], kv = self._token_ms(machine.gpu, np.arange(1.0, len(times)))
        if machine.gpu_cap_w < np.inf:
            gpu = next(gpu for gpu in self._facts.gpus if gpu.name == machine.gpu)
            times[1:] *= capped(DECODING, learned.decode_w[1:] / 8, gpu, Cap(power_w=machine.gpu_cap_w)).time_factor
        alone = self._performance.predict(layout, PROMPT_TOKENS, 128, 1).ttft_ms
        terms = np.stack([np.ones_like(PROMPT_TOKENS), PROMPT_TOKENS, PROMPT_TOKENS**2], axis=1)
        times[0], linear, squared = nnls(terms / alone[:, None], np.ones_like(alone))[0]
        return replace(
            learned, decode_ms=times, kv_ms_per_token=kv, prompt_ms_per_token=float(linear),
            prompt_ms_per_token2=float(squared), prompt_overhead_ms=0.0,
        )  # fmt: skip

    def measured(self, gpu: str) -> dict[Point, tuple[float, float]]:
        """Median TTFT and TPOT of the repeats, in ms."""
        points: dict[Point, list[tuple[float, float]]] = {}
        for m in self._rows:
            if m.layout == layout_of(self.model, gpu):
                key = (m.input_tokens or 0, m.output_tokens or 0, m.concurrency or 0)
                points.setdefault(key, []).append((m.ttft_ms or np.nan, m.tpot_ms or np.nan))
        medians = {key: np.median(times, axis=0) for key, times in points.items()}
        return {key: (float(ttft), float(tpot)) for key, (ttft, tpot) in medians.items()}

    def _token_ms(self, gpu: str, running: Floats) -> tuple[Floats, float]:
        """Token times without context, and of one token of it, so that the rows of 512 + 128 tokens are met exactly.

        Beyond the largest batch, times go on along the last two.
        """
        points = self.measured(gpu)
        kv = 0.0
        if self._context == "measured":
            single = [(i + o / 2, tpot) for (i, o, n), (_, tpot) in points.items() if n == 1]
            contexts, tpots = np.array(single).T
            kv = max(float(np.polyfit(contexts, tpots, 1)[0]), 0.0)
        at = {n: tpot - n * (512 + 64) * kv for (i, o, n), (_, tpot) in points.items() if (i, o) == (512, 128)}
        batches = np.array(sorted(at))
        times = np.array([at[n] for n in batches])
        slope = (times[-1] - times[-2]) / (batches[-1] - batches[-2])
        beyond = np.maximum(running - batches[-1], 0.0) * slope
        return np.asarray(np.interp(running, batches, times) + beyond), kv


def print_fit(engines: Engines) -> None:
    """How far iterations are from what was measured."""
    for machine in (A100, H100):
        cost = engines.of(machine)
        misses: dict[str, list[float]] = {"prompts alone": [], "prompts batched to 2048 tokens": [], "tokens": []}
        for (tokens_in, tokens_out, n), (ttft, tpot) in engines.measured(machine.gpu).items():
            prompt = float(cost.decode_ms[0]) + n * float(cost.prompt_ms(np.array([tokens_in]))[0])
            if n * tokens_in <= 2048 or n == 1:
                misses["prompts alone" if n == 1 else "prompts batched to 2048 tokens"].append(prompt / ttft - 1)
            context = n * (tokens_in + tokens_out / 2)
            misses["tokens"].append((cost.decode_ms[int(n)] + context * cost.kv_ms_per_token) / tpot - 1)
        told = [f"{what} {np.mean(np.abs(e)):.1%} (worst {max(e, key=abs):+.0%})" for what, e in misses.items()]
        print(f"  {machine.name:5} {', '.join(told)}")


@dataclass(frozen=True)
class Workload:
    """The start of the conversation trace, multiplied to a rate, or something made of it."""

    window_s: float
    poisson: bool = False
    """Sizes of the trace, without its bursts."""
    like_code: bool = False
    """Tokens scaled to the medians that the paper gives for its coding trace, prompts to the longest measured: 8192."""

    def __str__(self) -> str:
        arrivals = "Poisson arrivals" if self.poisson else "arrivals of the trace"
        return f"{arrivals}, {'lengths scaled to those of code' if self.like_code else 'conversations'}"

    @cached_property
    def _trace(self) -> Chunk:
        return _joined(traffic_of_trace(TRACE, duration_s=self.window_s))

    @cached_property
    def _to_code(self) -> tuple[float, float]:
        """Ratios of the medians: prompts, answers."""
        whole = sizes_of_trace(TRACE)
        return CODE_TOKENS[0] / float(np.median(whole.input_tokens)), CODE_TOKENS[1] / float(
            np.median(whole.output_tokens)
        )

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Of prompts and of answers."""
        sizes = self._scaled(self._trace)
        return float(sizes.input_tokens.mean()), float(sizes.output_tokens.mean())

    def at(self, requests_per_s: float, seed: int) -> Traffic:
        """As many requests per second, on average."""
        trace = self._trace
        if self.poisson:
            sizes = Sizes("of the trace", trace.input_tokens, trace.output_tokens, np.ones(len(trace)))
            found = generated("poisson", sizes, requests_per_s=requests_per_s, duration_s=self.window_s, seed=seed)
        else:
            times = requests_per_s * self.window_s / len(trace)
            found = traffic_of_trace(TRACE, rate_multiplier=times, duration_s=self.window_s, seed=seed)
        return Traffic(str(self), lambda: map(self._scaled, found.chunks()))

    def _scaled(self, chunk: Chunk) -> Chunk:
        if not self.like_code:
            return chunk
        tokens_in = np.clip(chunk.input_tokens * self._to_code[0], 1, LONGEST_MEASURED)
        tokens_out = np.maximum(chunk.output_tokens * self._to_code[1], 1)
        return Chunk(chunk.arrival_s, np.rint(tokens_in).astype(np.int64), np.rint(tokens_out).astype(np.int64))


def _joined(traffic: Traffic) -> Chunk:
    chunks = list(traffic.chunks())
    return Chunk(*(np.concatenate([getattr(c, name) for c in chunks])
                   for name in ("arrival_s", "input_tokens", "output_tokens")))  # fmt: skip


@dataclass
class Replays:
    """Replays of clusters at request rates, judged by the slowdowns that requests get.

    ``each_token`` judges baselines by the time between any two tokens instead of its mean over each request.
    """

    engines: Engines
    workload: Workload
    each_token: bool = False

    def missed(self, cluster: Cluster, requests_per_s: float, seed: int = 0) -> dict[Metric, str]:
        """Which SLOs are missed, each with its worst percentile; empty where all nine are met."""
        table = self._rows(cluster, self.workload.at(requests_per_s, seed))
        alone = self._alone(table["input_tokens"].astype(float), table["output_tokens"].astype(float))
        ended, handed_over = table["status"] == COMPLETED, table["decode_replica"] >= 0
        times: dict[Metric, Floats] = {"TTFT": table["ttft_ms"], "TBT": table["tpot_ms"], "E2E": table["e2e_ms"]}
        counted: dict[Metric, NDArray[np.bool_]] = {
            "TTFT": ended | ~handed_over, "TBT": (ended | handed_over) & (table["output_tokens"] > 1),
            "E2E": np.ones(len(table), dtype=bool),
        }  # fmt: skip
        found: dict[Metric, str] = {}
        for metric, limits in SLO.items():
            slowdown = np.where(ended, times[metric] / alone[metric], np.inf)[counted[metric]]
            reached = np.quantile(slowdown, QUANTILES, method="higher") if len(slowdown) else np.zeros(3)
            if metric == "TBT" and self.each_token and cluster.design.whole_prompts:
                reached = gap_quantiles(table[ended], self.engines.of(cluster.design.prompt)) / alone["TBT"].mean()
            worst = int(np.argmax(reached / limits))
            if reached[worst] > limits[worst]:
                found[metric] = f"P{100 * QUANTILES[worst]:.0f} {metric}"
        return found

    def _alone(self, tokens_in: Floats, tokens_out: Floats) -> dict[Metric, Floats]:
        """Latencies in ms of requests alone on a DGX-A100."""
        cost = self.engines.of(A100)
        ttft = cost.decode_ms[0] + cost.prompt_ms(tokens_in)
        each = cost.decode_ms[1] + cost.kv_ms_per_token * (tokens_in + (tokens_out - 2) / 2)
        return {"TTFT": ttft, "TBT": each, "E2E": ttft + (tokens_out - 1) * each}

    def _rows(self, cluster: Cluster, traffic: Traffic) -> Records:
        """What happened to every request after the warm-up (or to all, in a replay that had to be cut off)."""
        design, link = cluster.design, None
        if design.token is None:
            pools = [Pool("both", self.engines.of(design.prompt), cluster.prompts)]
        else:
            pools = [Pool("prompts", self.engines.of(design.prompt), cluster.prompts, "prefill"),
                     Pool("tokens", self.engines.of(design.token), cluster.tokens, "decode")]  # fmt: skip
            slower = min(design.prompt.link_gb_per_s, design.token.link_gb_per_s)
            link = Link(slower, layers=self.engines.num_layers)
        budget = 1_000_000 if design.whole_prompts else MOST_PROMPT_TOKENS
        options = Options(token_budget=budget, max_waiting=50 * cluster.machines, grace_s=600.0)
        rows: list[Records] = []
        found = simulate_pools(pools, traffic, options, link=link, sink=lambda some: rows.append(some.copy()))
        table = np.concatenate(rows)
        return table if found.events.unfinished else table[table["arrival_s"] >= WARM_UP_S]


def gap_quantiles(table: Records, cost: Iteration) -> Floats:
    """Quantiles of the time between two tokens of any request, in ms, where both phases share machines.

    ``table`` has the requests that ended. A prompt ends its iteration, so first tokens at one time on one machine show
    an iteration with prompts, whose duration follows from them and from who was decoding; all other gaps are given
    their common mean.
    """
    if not len(table):
        return np.zeros(len(QUANTILES))
    machine, eps = table["replica"] * 1e5, 1e-6
    first = machine + table["arrival_s"] + table["ttft_ms"] / 1e3
    end = machine + table["arrival_s"] + table["e2e_ms"] / 1e3
    at, which = np.unique(np.round(first, 6), return_inverse=True)
    prompts_ms = np.bincount(which, cost.prompt_ms(table["input_tokens"].astype(float)))
    decoding = np.searchsorted(np.sort(first), at - eps) - np.searchsorted(np.sort(end), at - eps)
    context = float((table["input_tokens"] + table["output_tokens"] / 2).mean())
    mixed_ms = cost.decode_ms[decoding] + decoding * context * cost.kv_ms_per_token + prompts_ms
    num_others = float((table["output_tokens"] - 1).sum() - decoding.sum())
    others_ms = ((table["e2e_ms"] - table["ttft_ms"]).sum() - (decoding * mixed_ms).sum()) / num_others
    gaps, weights = np.append(mixed_ms, others_ms), np.append(decoding, num_others)
    order = np.argsort(gaps)
    reached = np.searchsorted(np.cumsum(weights[order]), np.array(QUANTILES) * weights.sum())
    return np.asarray(gaps[order][reached])
