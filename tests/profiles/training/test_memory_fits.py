"""What would make a configuration fit: every answer checked by asking the memory model again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from profiles.errors import InvalidInput
from profiles.training.fits import SETTINGS, single_changes, what_would_fit
from profiles.training.layouts import Layouts, joined, one_layout
from profiles.training.memory import memory
from profiles.training.shape import Transformer

GPT_3 = Transformer(96, 12_288, 96, 96, 128, 49_152, 51_200, gated_mlp=False, tied_embeddings=True)
MIXTRAL = Transformer(
    32, 4096, 32, 8, 128, 14_336, 32_000, num_experts=8, experts_per_token=2, moe_intermediate_size=14_336
)
BASE = {"sequence_length": 2048, "framework": "megatron-lm"}


def gib(shape: Transformer, layout: Layouts) -> float:
    return float(memory(shape, layout, **BASE).total_gib[0])  # type: ignore[arg-type]


def asked(shape: Transformer, layout: Layouts, available_gib: float, settings: tuple[str, ...] = SETTINGS):  # type: ignore[no-untyped-def]
    return what_would_fit(shape, layout, available_gib=available_gib, settings=settings, **BASE)


def test_nothing_is_wrong_with_what_fits() -> None:
    layout = one_layout(tp=8, pp=8, global_batch=64, num_layers=96, recompute="full")
    assert asked(GPT_3, layout, gib(GPT_3, layout)) is None


def test_says_by_how_much_where_and_why() -> None:
    layout = one_layout(tp=8, pp=8, global_batch=64, num_layers=96)
    short = asked(GPT_3, layout, 80.0)
    assert short.short_gib == pytest.approx(gib(GPT_3, layout) - 80)
    assert (short.largest_part, short.stage) == ("activations", "first")


def test_each_change_alone_fits_and_keeps_the_batch() -> None:
    layout = one_layout(tp=8, pp=8, dp=4, micro_batch=4, global_batch=256, num_layers=96, zero=1)
    short = asked(GPT_3, layout, 75.0)
    by_setting = {change.setting: change for change in short.changes}
    assert [*by_setting] == [setting for setting in SETTINGS if setting in by_setting]
    assert all(change.needed_gib <= 75.0 for change in short.changes)
    assert all(change.num_gpus == 256 for change in short.changes if change.setting != "GPUs")
    assert by_setting["GPUs"].num_gpus > 256
    assert short.nearest is None
    full = by_setting["recompute"]
    layers = int(full.to.split()[1])
    option = replace(layout, recompute=np.array([2]), recomputed_layers=np.array([layers]))
    assert full.needed_gib == gib(GPT_3, option)
    fewer = replace(option, recomputed_layers=np.array([layers - 1]))
    assert gib(GPT_3, fewer) > 75.0  # the mildest that fits


def test_degrees_at_the_same_number_of_gpus() -> None:
    layout = one_layout(tp=2, pp=8, dp=8, global_batch=64, num_layers=96, recompute="full", zero=1)
    short = asked(GPT_3, layout, 60.0)
    higher = next(change for change in short.changes if change.setting == "tensor parallel")
    times = int(higher.to) // 2
    same = one_layout(tp=2 * times, pp=8, dp=8 // times, global_batch=64, num_layers=96, recompute="full", zero=1)
    assert higher.needed_gib == gib(GPT_3, same)
    deeper = next(change for change in short.changes if change.setting == "pipeline parallel")
    times = int(deeper.to) // 8
    same = one_layout(tp=2, pp=8 * times, dp=8 // times, global_batch=64, num_layers=96, recompute="full", zero=1)
    assert deeper.needed_gib == gib(GPT_3, same)


def test_experts_may_be_spread_and_states_sharded() -> None:
    layout = one_layout(dp=8, global_batch=64, num_layers=32, recompute="full", zero=1, shard=2)
    short = asked(MIXTRAL, layout, gib(MIXTRAL, layout) - 1)
    settings = {change.setting for change in short.changes}
    assert {"expert parallel", "shard", "ZeRO stage", "offload", "GPUs"} <= settings


def test_a_change_cuts_what_can_be_cut() -> None:
    """96 heads and layers: TP and PP 32 at most; 8 experts: EP 8 at most; 3 micro-batches: not twice the replicas."""
    layout = one_layout(dp=256, global_batch=768, num_layers=96, recompute="full", zero=1)
    every = [(setting, to) for setting, to, _ in single_changes(GPT_3, layout)]
    assert [to for setting, to in every if setting == "tensor parallel"] == ["2", "4", "8", "16", "32"]
    assert [to for setting, to in every if setting == "pipeline parallel"] == ["2", "4", "8", "16", "32"]
    assert not any("data parallel" in to for setting, to in every if setting == "GPUs")
    experts = single_changes(MIXTRAL, one_layout(dp=64, global_batch=64, num_layers=32))
    assert [to for setting, to, _ in experts if setting == "expert parallel"] == ["2", "4", "8"]


@pytest.mark.parametrize(("shard", "then"), [(32, 8), (16, 8), (4, 4)])
def test_states_stay_shared_by_as_many_as_before_or_by_all(shard: int, then: int) -> None:
    layout = one_layout(dp=32, global_batch=64, num_layers=96, recompute="full", zero=1, shard=shard)
    changes = {(setting, to): changed for setting, to, changed in single_changes(GPT_3, layout)}
    deeper = changes["pipeline parallel", "4"]
    assert (deeper.dp[0], deeper.shard[0], deeper.num_micro_batches[0]) == (8, then, 8)
    assert (deeper.layers_most[0], deeper.recomputed_layers[0]) == (24, 24)
    more = changes["GPUs", "64 (data parallel 64)"]
    assert more.shard[0] == (64 if shard == 32 else shard)


def test_the_nearest_change_where_none_is_enough() -> None:
    layout = one_layout(global_batch=2, num_layers=96)
    short = asked(GPT_3, layout, 1.0)
    assert short.changes == ()
    assert 1.0 < short.nearest.needed_gib < short.needed_gib
    assert asked(GPT_3, layout, 1.0, settings=()).nearest is None


def test_only_settings_that_may_vary_are_changed() -> None:
    layout = one_layout(tp=8, pp=8, global_batch=64, num_layers=96)
    short = asked(GPT_3, layout, 80.0, settings=("offload",))
    assert [str(change) for change in short.changes] == ["offload optimizer_cpu"]
    assert short.changes[0].host_gib_per_gpu > 0


def test_bad_questions_are_named() -> None:
    layout = one_layout(global_batch=1, num_layers=96)
    for available in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput) as error:
            asked(GPT_3, layout, available)
        assert error.value.field == "available_gib"
    with pytest.raises(InvalidInput) as error:
        asked(GPT_3, joined([layout, layout]), 80.0)
    assert error.value.field == "layout"
