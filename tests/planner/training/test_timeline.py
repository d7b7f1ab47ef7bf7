"""The pipeline schedule: against closed forms, what may never happen, and the steps that it is drawn from."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import Conflict, InvalidInput
from planner.training import timeline as module
from planner.training.plan import Configuration
from planner.training.solve import solve
from planner.training.spec import Finetune, TrainingSpec
from planner.training.timeline import StageTimes, run, stage_times, timeline
from planner.types import SolveOptions
from tests.planner.training.conftest import SMALL

MS = st.floats(0.1, 10, allow_nan=False)


@st.composite
def pipelines(draw):
    """Times of some stages, chunks, and micro-batches; interleaved ones come in whole rounds."""
    stages, chunks = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    times = [np.array(draw(st.lists(MS, min_size=stages, max_size=stages))) for _ in range(2)]
    rounds = draw(st.integers(1, 3))
    return StageTimes(*times), chunks, draw(st.integers(1, 14)) if chunks == 1 else rounds * stages


@pytest.mark.parametrize("stages", [1, 2, 4, 7])
@pytest.mark.parametrize("chunks", [1, 2, 5])
@pytest.mark.parametrize("rounds", [1, 3])
def test_bubble_of_even_stages_is_the_closed_form(stages, chunks, rounds):
    even = StageTimes(np.full(stages, 2.0), np.full(stages, 3.0))
    micro_batches = rounds * stages
    end_ms = max(one.end_ms for one in run(even, chunks, micro_batches))
    ideal_ms = micro_batches * 5.0
    assert end_ms / ideal_ms - 1 == pytest.approx((stages - 1) / (micro_batches * chunks))


@given(pipelines())
@settings(max_examples=60, deadline=None)
def test_every_pass_runs_once_when_it_can_and_never_before(pipeline):
    stages, chunks, micro_batches = pipeline
    num_stages = len(stages.forward_ms)
    last = num_stages * chunks - 1
    passes = run(stages, chunks, micro_batches)
    position = {id(one): one.chunk * num_stages + one.stage for one in passes}
    ended = {(one.phase, position[id(one)], one.micro_batch): one.end_ms for one in passes}
    assert len(ended) == len(passes) == 2 * (last + 1) * micro_batches
    for phase, took_ms in (("forward", stages.forward_ms), ("backward", stages.backward_ms)):
        for one in passes:
            if one.phase == phase:
                assert one.end_ms - one.start_ms == pytest.approx(took_ms[one.stage] / chunks)
    for stage in range(num_stages):
        free_ms = 0.0
        for one in sorted((one for one in passes if one.stage == stage), key=lambda one: one.start_ms):
            k, j = position[id(one)], one.micro_batch
            if one.phase == "forward":
                ready_ms = ended["forward", k - 1, j] if k else 0.0
            else:
                ready_ms = ended["backward", k + 1, j] if k < last else ended["forward", k, j]
            assert one.start_ms == pytest.approx(max(free_ms, ready_ms))
            free_ms = one.end_ms


@given(pipelines())
@settings(max_examples=30, deadline=None)
def test_a_stage_holds_no_more_micro_batches_than_1f1b_has_memory_for(pipeline):
    stages, _, micro_batches = pipeline
    num_stages = len(stages.forward_ms)
    held, most = Counter(), defaultdict(int)
    for one in sorted(run(stages, 1, micro_batches), key=lambda one: (one.end_ms, one.phase)):
        held[one.stage] += 1 if one.phase == "forward" else -1
        most[one.stage] = max(most[one.stage], held[one.stage])
    assert all(most[stage] <= num_stages - stage for stage in range(num_stages))


@pytest.fixture(scope="module")
def ranked(facts):
    shape = {"num_layers": 9, "hidden_size": 1024, "num_attention_heads": 8, "vocab_size": 8000}
    found = []
    for changes in ({}, {"shape": shape, "choices": {"pipeline_parallel": [4], "micro_batch": [1]}},
                    {"choices": {"pipeline_parallel": [2, 4], "recompute": ["full"]}}):  # fmt: skip
        plan = solve(TrainingSpec.model_validate({**SMALL, **changes, "top": 40}), facts, SolveOptions(time_limit_s=60))
        found += plan.ranked
    return found


def test_the_end_is_the_step_without_what_is_beside_the_pipeline(ranked):
    seen = Counter()
    for c in ranked:
        drawn = timeline(c)
        assert drawn.counted_ms + drawn.beside_ms == pytest.approx(c.step_ms)
        light_ends = min(c.stage_layers) < max(c.stage_layers) and c.parts.logits_ms == 0
        seen[drawn.schedule, light_ends] += 1
        if light_ends:
            most = max(c.stage_layers)
            assert drawn.end_ms <= drawn.counted_ms * (1 + 1e-9)
            assert drawn.end_ms >= drawn.counted_ms * (1 - c.pipeline_parallel / (most * c.num_micro_batches))
        else:
            assert drawn.end_ms == pytest.approx(drawn.counted_ms, rel=1e-9)
    assert {("one stage", False), ("1F1B", False), ("interleaved 1F1B", False), ("1F1B", True)} <= set(seen)


def test_idle_time_of_a_stage_is_what_it_does_not_work(ranked):
    c = next(c for c in ranked if c.pipeline_parallel > 1)
    drawn = timeline(c)
    for stage, share in enumerate(drawn.idle_share):
        busy_ms = sum(one.end_ms - one.start_ms for one in drawn.passes if one.stage == stage)
        assert share == pytest.approx(1 - busy_ms / drawn.end_ms)


def long(ranked, micro_batches, **changes):
    """A configuration with many more micro-batches, of the same time each."""
    c = next(c for c in ranked if c.pipeline_parallel == 4 and c.virtual_stages == 1)
    factor = micro_batches / c.num_micro_batches
    fixed = ("bubble_ms", "optimizer_ms", "data_parallel_ms", "host_ms", "offload_ms")
    parts = {name: ms if name in fixed else ms * factor for name, ms in c.parts.model_dump().items()}
    values = {**c.model_dump(), "num_micro_batches": micro_batches, "parts": parts, "step_ms": sum(parts.values())}
    return Configuration.model_validate({**values, **changes})


@pytest.mark.parametrize("micro_batches", [3001, 3002])
def test_micro_batches_that_are_left_out_change_nothing_else(ranked, monkeypatch, micro_batches):
    c = long(ranked, micro_batches)
    short = timeline(c)
    first, last = short.left_out
    assert len(short.passes) <= module.MOST_PASSES
    monkeypatch.setattr(module, "MOST_PASSES", 10**6)
    whole = timeline(c)
    assert whole.left_out is None
    assert short.end_ms == pytest.approx(whole.end_ms)
    assert short.idle_share == pytest.approx(whole.idle_share)
    kept = {(one.phase, one.stage, one.micro_batch): one for one in whole.passes
            if not first <= one.micro_batch <= last}  # fmt: skip
    assert len(kept) == len(short.passes)
    for one in short.passes:
        same = kept[one.phase, one.stage, one.micro_batch]
        assert (one.start_ms, one.end_ms) == pytest.approx((same.start_ms, same.end_ms))


def test_stages_with_fewer_layers_take_less_but_for_logits(ranked):
    c = next(c for c in ranked if c.pipeline_parallel == 4 and min(c.stage_layers) < max(c.stage_layers))
    times = stage_times(c)
    whole = times.forward_ms + times.backward_ms
    layers = np.array(c.stage_layers) / max(c.stage_layers)
    assert whole[:-1] == pytest.approx(whole.max() * layers[:-1]) or c.parts.logits_ms > 0
    assert whole[-1] > whole[layers == 1].min() * layers[-1] * 0.999


def test_stages_of_several_kinds_of_gpu_take_equally_long(ranked):
    c = long(ranked, 16, stage_layers=(3, 3, 1, 1))
    whole = stage_times(c).forward_ms + stage_times(c).backward_ms
    assert whole[:-1] == pytest.approx(whole[0])


def test_a_forward_pass_is_a_third_of_the_products_or_half_with_adapters(ranked):
    c = next(c for c in ranked if c.recompute == "none" and c.parts.tensor_parallel_ms == 0)
    for finetune, share in ((None, 1 / 3), (Finetune(method="lora"), 1 / 2)):
        drawn = timeline(c, finetune)
        assert sum(drawn.forward_ms) / sum((*drawn.forward_ms, *drawn.backward_ms)) == pytest.approx(share)


def test_what_has_no_schedule_says_so(ranked):
    with pytest.raises(Conflict, match="backward"):
        timeline(ranked[0], Finetune(method="zeroth_order"))
    many = long(ranked, 200, pipeline_parallel=200, stage_layers=(1,) * 200)
    with pytest.raises(InvalidInput, match="200 stages"):
        timeline(many)
    with pytest.raises(InvalidInput, match="whole rounds"):
        timeline(long(ranked, 17, virtual_stages=2))
