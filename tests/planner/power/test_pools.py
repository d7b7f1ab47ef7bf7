"""Pools of a spec's workloads, most of all of inference: what their states mean, and that load and bursts are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.errors import InvalidInput, MissingProfile, UnknownName
from planner.power.demand import Pool
from planner.power.load import load as load_spec
from planner.power.spec import PowerSpec
from planner.power.traces import inference
from planner.power.traces.pools import pools
from profiles.catalogue import load
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.types import Facts

DATA = next((p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").exists()), Path("shared/data"))
EXAMPLE = Path(__file__).parents[3] / "examples/power.yaml"
FACTS = Facts(gpus=load().gpus, models=load().models, measurements=load().measurements)
A100 = next(gpu for gpu in FACTS.gpus if gpu.name == "A100-80GB")
TDP_W, IDLE_W = 8 * A100.tdp_w, 8 * A100.idle_w


def spec(demand: dict[str, Any], **fields: Any) -> PowerSpec:
    return PowerSpec.model_validate({
        "servers": [{"name": "dgx", "gpu": "A100-80GB", "other_w": 1800, "rated_w": 6500}],
        "row": {"budget_servers": 10},
        "priorities": [{"name": "low"}],
        "workloads": [{"name": "w", "server": "dgx", "priority": "low", "share": 1, "demand": demand}],
        **fields,
    })  # fmt: skip


def watts(pool: Pool) -> np.ndarray:
    """(levels, servers, seconds)."""
    return pool.table.gpu_w[pool.states]


@pytest.fixture(autouse=True, scope="module")
def few_iterations() -> Iterator[None]:
    """A tenth of the replay: fewer servers, a quarter of an hour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "MOST_ITERATIONS", 3e6)
        yield


@pytest.fixture(scope="module")
def chat() -> Pool:
    """Llama-2-70B on eight A100, of which the catalogue has measured rows."""
    demand = {"kind": "trace", "generated": {}, "model": "meta-llama/Llama-2-70b-hf", "tp": 8, "peak_load": 0.8}
    return pools(spec(demand), FACTS)[0][0]


def test_watts_lie_between_idle_and_tdp_and_rise_with_load(chat: Pool) -> None:
    by_level = watts(chat).mean(axis=(1, 2))
    assert (np.diff(chat.load) > 0).all()
    assert (np.diff(by_level)[:-1] > 0).all()  # the highest two are more than servers can carry
    assert watts(chat).min() >= IDLE_W * (1 - 1e-9)
    assert watts(chat).max() <= TDP_W * (1 + 1e-9)
    assert "measured rows" in chat.origin


def test_states_answer_to_clocks_between_decoding_and_prompts(chat: Pool) -> None:
    table = chat.table
    assert table.time_on_clock.min() >= 0.15
    assert table.time_on_clock.max() <= 1
    assert table.power_on_clock.min() >= 0.5
    assert table.power_on_clock.max() <= 1
    hot, cool = table.gpu_w > 3000, table.gpu_w < 1600
    assert table.time_on_clock[hot].min() > table.time_on_clock[cool].mean()


def test_busy_is_the_share_of_what_a_server_can_carry(chat: Pool) -> None:
    busy = chat.table.busy[chat.states].mean(axis=(1, 2))
    below = chat.load <= 1
    assert busy[below] == pytest.approx(0.8 * chat.load[below], abs=0.12)
    assert (np.diff(busy)[:-1] > 0).all()


def test_bursts_hit_all_servers_together_and_seconds_are_their_own(chat: Pool) -> None:
    level = watts(chat)[list(chat.load).index(0.6)]
    halves = level[::2].mean(axis=0), level[1::2].mean(axis=0)
    minutes = [half[: len(half) // 60 * 60].reshape(-1, 60).mean(axis=1) for half in halves]
    assert np.corrcoef(*minutes)[0, 1] > 0.8
    assert abs(np.corrcoef(level[0] - halves[1], level[2] - halves[1])[0, 1]) < 0.2


def test_twice_the_same_pool_and_one_for_workloads_alike(chat: Pool) -> None:
    document = spec({"kind": "trace", "generated": {}, "model": "llama2-70b", "tp": 8, "peak_load": 0.8}).model_dump()
    first = document["workloads"][0]
    document["workloads"] = [{**first, "share": 0.5}, {**first, "name": "v", "share": 0.5}]
    found = pools(PowerSpec.model_validate(document), FACTS)
    assert [pool.workload for pool, _ in found] == ["w", "v"]
    assert all(np.array_equal(pool.states, chat.states) for pool, _ in found)
    assert found[1][0].notes[0].startswith("v: ")


def test_a_rate_replaces_the_share_of_capacity(chat: Pool) -> None:
    rate = float(chat.notes[0].split("gets ")[1].split(" ")[0])
    demand = {"kind": "trace", "generated": {}, "model": "llama2-70b", "tp": 8, "peak_requests_per_s": rate}
    found = pools(spec(demand), FACTS)[0][0]
    assert watts(found).mean() == pytest.approx(watts(chat).mean(), rel=0.005)


def test_a_server_of_several_replicas_draws_their_sum() -> None:
    demand = {"kind": "trace", "generated": {}, "model": "llama2-70b", "tp": 2, "peak_load": 0.5}
    found = pools(spec(demand), FACTS)[0][0]
    assert IDLE_W < watts(found).mean() < TDP_W
    assert found.table.busy.max() <= 1
    assert found.table.running.max() > 4


def test_an_unmeasured_model_is_estimated_and_says_so() -> None:
    others = tuple(m for m in FACTS.measurements if m.model != "bigscience/bloom")
    found = pools(load_spec(EXAMPLE, {}), FACTS.model_copy(update={"measurements": others}))
    assert len(found) == 2
    assert any("nothing was measured" in note for note in found[0][0].notes)
    assert IDLE_W < watts(found[0][0]).mean() < TDP_W


def test_unknown_names_and_unmeasured_models() -> None:
    with pytest.raises(UnknownName, match="A100-80GB"):
        pools(
            spec({"kind": "training"}, servers=[{"name": "dgx", "gpu": "A100-80G8", "other_w": 1, "rated_w": 1}]), FACTS
        )
    with pytest.raises(MissingProfile, match=r"(?s)llama-9 on A100-80GB ×8.*measure times and power of llama-9"):
        pools(spec({"kind": "trace", "generated": {}, "model": "llama-9", "tp": 8}), FACTS)


@pytest.mark.skipif(not DATA.exists(), reason="shared/data (real traces and measurements) is not here")
def test_polcas_row_peaks_where_it_was_seen() -> None:
    """Forty DGX-A100 with BLOOM-176B: their 79% of the budget lies within the unmeasured range of non-GPU power."""
    file = DATA / "serving/splitwise_latency_power_measured.csv"
    rows = read("splitwise", file, KnownNames.of(load())).batch.measurements
    facts = FACTS.model_copy(update={"measurements": (*FACTS.measurements, *rows)})
    trace = load_spec(EXAMPLE, {"trace": DATA / "traces/azure_llm_2023_conv.csv"})
    found = pools(trace, facts)[0][0]
    row_w = watts(found)[list(found.load).index(1.0)].mean(axis=0)
    peak = (row_w.max() + np.array([1500.0, 2400.0])) / 6500
    assert peak[0] < 0.70
    assert peak[1] > 0.79
    assert np.quantile(row_w, 0.999) > 1.05 * row_w.mean()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"budget_w": 2000}, "2,000 W is less than one idle dgx draws, 2,344 W"),
        (
            {"budget_servers": 10, "observed": {"num_servers": 10, "peak_utilisation": 0.3}},
            "10 servers draw 23,440 W when idle, more than the observed peak of 30% of 65,000 W",
        ),
    ],
)
def test_budgets_below_idle_power(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        pools(spec({"kind": "training"}, row=row), FACTS)
