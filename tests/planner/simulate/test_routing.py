"""Which pools a request may go to: against a search through all ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput
from planner.simulate.cluster import Choice, Pool, SizeRoutes
from planner.simulate.routing import Router
from tests.planner.simulate.costs import iteration

POOLS = tuple(Pool(name, iteration(), 1) for name in "abcd")
edge = st.integers(1, 40)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int]:
    low, high = sorted((draw(edge), draw(edge)))
    return low, high


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(ranges(), ranges()), min_size=1, max_size=6), st.integers(0, 1000))
def test_sizes_find_the_first_range_that_holds_them(boxes: list[tuple[tuple[int, int], ...]], seed: int) -> None:
    sizes = [SizeRoutes(*box, (Choice("abcd"[i % 4]),)) for i, box in enumerate(boxes)]
    router = Router(sizes, POOLS, "shortest-queue")
    random = np.random.default_rng(seed)
    tokens_in, tokens_out = random.integers(1, 45, 200), random.integers(1, 45, 200)
    found = router.rows_of(tokens_in, tokens_out, random.random(200))

    def holds(limits: tuple[int, int], tokens: int, below: int) -> bool:
        return limits[0] - below < tokens <= limits[1]

    outside = 0
    for row, i, o in zip(found, tokens_in, tokens_out, strict=True):
        inside = [b for k in (0, 1) for b, box in enumerate(boxes) if holds(box[0], i, k) and holds(box[1], o, k)]
        if inside:
            assert row == inside[0]
        else:
            outside += 1
            distance = [np.hypot(*np.log(np.array([box[0][1] / i, box[1][1] / o]))) for box in boxes]
            assert distance[row] == pytest.approx(min(distance))
    assert router.num_outside == outside


def test_fractions_are_kept() -> None:
    sizes = [
        SizeRoutes((0, 10), (0, 10), (Choice("a", None, 0.2), Choice("b", None, 0.8))),
        SizeRoutes((10, 20), (0, 10), (Choice("c", None, 1.0),)),
        SizeRoutes((20, 30), (0, 10), (Choice("a", "d", 0.5), Choice("b", "d", 0.25), Choice("c", None, 0.25))),
    ]
    router = Router(sizes, POOLS, "fractions")
    random = np.random.default_rng(0)
    tokens_in = np.repeat([5, 15, 25], 20_000)
    rows = router.rows_of(tokens_in, np.ones_like(tokens_in), random.random(60_000))
    assert (np.diff(router.start)[rows] == 1).all()
    pair = [(int(router.pool[router.start[row]]), int(router.decode[router.start[row]])) for row in rows]
    for b, size in enumerate(sizes):
        found = pair[20_000 * b : 20_000 * (b + 1)]
        for choice in size.choices:
            where = ("abcd".index(choice.unit), -1 if choice.decode_unit is None else "abcd".index(choice.decode_unit))
            assert found.count(where) / 20_000 == pytest.approx(choice.fraction, abs=0.02)
    assert set(router.fallback[rows[:20_000]]) == {0}
    assert set(router.fallback[rows[40_000:]]) == {2}


@pytest.mark.parametrize("draw", [0.0, 0.5, np.nextafter(1.0, 0.0)])
def test_extreme_draws_stay_with_the_size(draw: float) -> None:
    sizes = [SizeRoutes((k, k + 1), (0, 10), tuple(Choice(u, None, 1 / 3) for u in "abc")) for k in range(50)]
    router = Router(sizes, POOLS, "fractions")
    tokens = np.arange(1, 51)
    rows = router.rows_of(tokens, np.ones(50, dtype=int), np.full(50, draw))
    np.testing.assert_array_equal(router.fallback[rows], np.arange(50))


def test_routes_to_units_that_are_not_there_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'z', which has no replicas"):
        Router([SizeRoutes((0, 1), (0, 1), (Choice("z"),))], POOLS, "fractions")
