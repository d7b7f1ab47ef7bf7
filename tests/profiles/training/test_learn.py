"""Learning coefficients: what was made with known ones is found again; outliers, strangers and nothing at all."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.catalogue import load
from profiles.names import KnownNames
from profiles.training.coefficients import NAMES, SHARES, Coefficients
from profiles.training.learn import learn
from profiles.training.observed import observed
from profiles.training.priors import FIRST, SHIPPED
from profiles.training.remainder import NOTHING, spots_of, through
from profiles.training.rows import ran, stack
from profiles.training.time import parts
from profiles.types import CollectiveMeasurement, Facts, GemmMeasurement, TrainingMeasurement

CATALOGUE = load()
KNOWN = KnownNames.of(CATALOGUE)
PLACE = ("megatron-deepspeed", "Ampere")
TODAY = {"source": "a test", "as_of": dt.date(2025, 1, 1)}


def step(step_ms: float = 1e3, **changes: object) -> TrainingMeasurement:
    values = {
        "model": "gpt-7b", "gpu": "A100-80GB", "framework": "megatron-deepspeed", "network_gb_per_s": 100.0, "tp": 2,
        "pp": 1, "dp": 8, "micro_batch": 2, "global_batch": 256, "sequence_length": 2048, "recompute": "full",
        "num_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_kv_heads": 32,
        "intermediate_size": 16384, "vocab_size": 51200, **TODAY, **changes,
    }  # fmt: skip
    gpus = int(values["tp"]) * int(values["pp"]) * int(values["dp"])  # type: ignore[call-overload]
    return TrainingMeasurement(**values, num_gpus=gpus, step_ms=step_ms)  # type: ignore[arg-type]


def made_with(truth: Coefficients) -> list[TrainingMeasurement]:
    """Sixteen steps that take just what ``truth`` says."""
    asked = [
        step(tp=tp, dp=dp, pp=pp, micro_batch=b) for tp, dp, pp, b in itertools.product((1, 8), (8, 16), (1, 4), (1, 8))
    ]
    what = stack([ran(one, KNOWN) for one in asked])
    found = parts(what.layouts, what.sizes, what.speeds, what.habits, truth).step_ms
    return [one.model_copy(update={"step_ms": float(ms)}) for one, ms in zip(asked, found, strict=True)]


def facts(steps: list[TrainingMeasurement], **others: object) -> Facts:
    return Facts(gpus=CATALOGUE.gpus, models=CATALOGUE.models, training_measurements=tuple(steps), **others)  # type: ignore[arg-type]


def moved(**logs: float) -> Coefficients:
    shift = np.array([logs.get(name, 0.0) for name in NAMES])
    return Coefficients.of((FIRST.common + shift)[:, None])


TRUTH = moved(product_rate=0.5, elementwise=-0.3, layer_us=0.8, network_rate=-0.7, tp_exposed=-1.0)


def told(learned_from: list[TrainingMeasurement], asked: list[TrainingMeasurement]) -> np.ndarray:
    """Predicted over true times."""
    learned = learn(observed(facts(learned_from)), FIRST)
    what = stack([ran(one, KNOWN) for one in asked])
    found = parts(what.layouts, what.sizes, what.speeds, what.habits, learned.coefficients(PLACE)).step_ms
    left_over, _ = learned.remainder(PLACE, what.layouts.tp, 4096)
    return np.asarray(found * np.exp(left_over) / [one.measured_step_ms for one in asked])


def test_steps_made_with_known_coefficients_are_predicted() -> None:
    steps = made_with(TRUTH)
    before = told([], steps)
    after = told(steps, steps)
    assert np.abs(after - 1).mean() < 0.01 < np.abs(before - 1).mean()
    new = steps[1::5]
    assert np.abs(told([one for one in steps if one not in new], new) - 1).mean() < 0.03


def test_an_outlier_changes_little() -> None:
    steps = made_with(TRUTH)
    odd = [*steps[:-1], steps[-1].model_copy(update={"step_ms": 3 * steps[-1].measured_step_ms})]
    assert np.abs(told(odd, steps[:-1]) - 1).mean() < 0.02


def test_nothing_measured_leaves_the_prior() -> None:
    learned = learn(observed(facts([])), SHIPPED)
    for place in (PLACE, ("unheard", "of")):
        np.testing.assert_array_equal(learned.median(place), SHIPPED.median(place))
    known, unknown = (np.diag(learned.covariance(place)) for place in (PLACE, ("unheard", "of")))
    assert (known <= unknown).all()
    assert (known < unknown).any()
    assert learned.spread_of(PLACE) < learned.spread_of(("megatron-deepspeed", "of"))


def test_measuring_never_makes_less_sure() -> None:
    before, after = (learn(observed(facts(steps)), FIRST) for steps in ([], made_with(TRUTH)))
    assert (np.diag(after.covariance(PLACE)) <= np.diag(before.covariance(PLACE)) + 1e-12).all()
    assert np.linalg.eigvalsh(after.covariance(PLACE)).min() > -1e-9


def test_no_coefficient_leaves_what_is_physical_however_odd_the_steps() -> None:
    odd = [one.model_copy(update={"step_ms": one.measured_step_ms * factor})
           for factor, one in zip(itertools.cycle((0.01, 100.0)), made_with(TRUTH))]  # fmt: skip
    found = learn(observed(facts(odd)), FIRST).coefficients(PLACE)
    for name in NAMES:
        value = getattr(found, name)[0]
        assert 0 < value < (1 if name in SHARES else np.inf), name


def test_products_measured_alone_teach_their_rate() -> None:
    shapes = [(m, n, 4096) for m in (1024, 4096, 16384) for n in (1024, 4096, 16384)]
    sweep = tuple(
        GemmMeasurement(gpu="H200", m=m, n=n, k=k, precision="bf16", time_us=2 * m * n * k / 989.4e6 / 0.45, **TODAY)  # type: ignore[arg-type]
        for m, n, k in shapes
    )
    place = ("megatron-lm", "Hopper")
    before, after = (learn(observed(facts([], gemms=rows)), FIRST).coefficients(place) for rows in ((), sweep))
    assert after.product_rate[0] < 0.6 < before.product_rate[0]


@pytest.mark.parametrize("operation", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv"])
def test_collectives_measured_alone_teach_the_links(operation: str) -> None:
    slow = tuple(
        CollectiveMeasurement(
            gpu="A100-80GB", operation=operation, num_gpus=8, num_bytes=size, time_us=size / 1e5, **TODAY
        )  # type: ignore[arg-type]
        for size in (10**8, 10**9)
    )
    before, after = (learn(observed(facts([], collectives=rows)), FIRST).coefficients(PLACE) for rows in ((), slow))
    assert after.link_rate[0] < before.link_rate[0]


def test_rows_that_cannot_be_placed_teach_nothing() -> None:
    strange = [
        step(framework="own"), step(gpu="Abacus"),
        step(num_layers=None, hidden_size=None, num_attention_heads=None, num_kv_heads=None, intermediate_size=None,
             vocab_size=None),
    ]  # fmt: skip
    assert observed(facts(strange)) == []


@given(st.lists(st.floats(-12, 12), min_size=len(NAMES), max_size=len(NAMES)))
def test_coefficients_are_their_logits_and_logarithms(values: list[float]) -> None:
    there = Coefficients.of(np.array(values)[:, None])
    np.testing.assert_allclose(there.learned[:, 0], values, rtol=1e-6, atol=1e-6)
    assert all(0 < getattr(there, name)[0] < 1 for name in SHARES)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1024, 4096, 16384]), st.floats(-0.3, 0.3)),
                min_size=1, max_size=12, unique_by=lambda row: row[:2]))  # fmt: skip
def test_a_remainder_goes_through_its_values_and_fades(values: list[tuple[int, int, float]]) -> None:
    found = through(values)
    tp, hidden, logarithm = np.array(values).T
    np.testing.assert_allclose(found.at(spots_of(tp, hidden)), logarithm, atol=0.15)
    far = spots_of(np.array([8.0**4]), 4096)
    assert abs(found.at(far)[0]) < 1e-3
    assert found.unknown(far)[0] == pytest.approx(1)
    assert found.unknown(spots_of(tp, hidden)).max() < 1e-9


def test_nothing_left_over_is_nothing() -> None:
    spots = spots_of(np.array([1, 2]), 4096)
    assert NOTHING.at(spots).tolist() == [0, 0]
    assert NOTHING.unknown(spots).tolist() == [1, 1]
