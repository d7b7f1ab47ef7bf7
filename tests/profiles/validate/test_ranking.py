"""Rank correlation and regret, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from profiles.validate.ranking import ranking, spearman

times = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=3, max_size=12)


@given(times)
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    one, two = np.array(pairs, dtype=float).T
    if len(set(one)) == 1 or len(set(two)) == 1:
        assert spearman(one, two) == 0
    else:
        assert spearman(one, two) == pytest.approx(spearmanr(one, two).statistic)


def test_regret_is_what_trusting_the_prediction_costs() -> None:
    found = ranking([("a", 1.0, 12.0), ("a", 2.0, 10.0), ("a", 3.0, 20.0), ("b", 1.0, 1.0), ("b", 2.0, 2.0)])
    (group,) = found.groups  # two rows are no group
    assert (group.alternatives, group.rows) == ("a", 3)
    assert group.top1_regret == pytest.approx(0.2)
    assert group.spearman == pytest.approx(0.5)
    assert found.spearman_within_group == group.spearman
    assert found.top1_regret_mean == found.top1_regret_max == group.top1_regret


def test_means_are_over_groups() -> None:
    good = [("good", float(k), float(k)) for k in range(1, 9)]
    bad = [("bad", float(-k), float(k)) for k in range(1, 4)]
    found = ranking(good + bad)
    assert found.spearman_within_group == pytest.approx(0)
    assert found.top1_regret_mean == pytest.approx(1)
    assert found.top1_regret_max == pytest.approx(2)


def test_without_groups_there_is_nothing_to_say() -> None:
    found = ranking([])
    assert found.spearman_within_group is found.top1_regret_mean is found.top1_regret_max is None
