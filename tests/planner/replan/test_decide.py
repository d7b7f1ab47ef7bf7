"""A change is made for a saving that pays for it, or because it must be, and for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.replan.decide import Candidate, Force, Kept, decide

USD = st.floats(0, 1e6)
FORCES = st.lists(st.tuples(st.sampled_from(["slo", "price", "availability"]), st.text(min_size=1)), max_size=3)


def test_nothing_runs() -> None:
    assert decide(None, Candidate("optimal", 10.0), 0.03, 0.0)[0] == "first_plan"
    assert decide(None, Candidate("infeasible", None), 0.03, 0.0)[0] == "infeasible"
    assert decide(None, Candidate("no_solution", None), 0.03, 0.0)[0] == "failed"


@pytest.mark.parametrize("force", ["slo", "price", "availability"])
def test_what_cannot_go_on_changes_at_any_price(force: Force) -> None:
    kept = Kept(1.0, ((force, "because"),))
    assert decide(kept, Candidate("optimal", 1e6), 0.5, 1e3) == ("forced_change", "because")
    assert decide(kept, Candidate("infeasible", None), 0.5, 1e3)[0] == "infeasible"
    assert decide(kept, Candidate("no_solution", None), 0.5, 1e3)[0] == "failed"


def test_what_runs_goes_on_where_nothing_better_is_found() -> None:
    assert decide(Kept(10.0), Candidate("no_solution", None), 0.03, 0.0)[0] == "keep"
    assert decide(Kept(10.0), Candidate("infeasible", None), 0.03, 0.0)[0] == "keep"


def test_hysteresis() -> None:
    assert decide(Kept(100.0), Candidate("optimal", 97.1), 0.03, 0.0)[0] == "keep"
    assert decide(Kept(100.0), Candidate("optimal", 96.9), 0.03, 0.0)[0] == "change"
    assert decide(Kept(100.0), Candidate("optimal", 96.9), 0.03, 5.0)[0] == "keep"
    assert decide(Kept(100.0), Candidate("optimal", 94.9), 0.03, 5.0)[0] == "change"


@given(USD, USD, st.floats(0, 0.99), USD, FORCES, st.booleans())
def test_never_for_less_than_was_asked_for(
    keeping: float, changing: float, fraction: float, least: float, forces: list[tuple[Force, str]], differs: bool
) -> None:
    decision, reason = decide(Kept(keeping, tuple(forces)), Candidate("optimal", changing, differs), fraction, least)
    assert reason
    if decision == "change":
        assert differs
        assert not forces
        assert keeping - changing > 0
        assert keeping - changing >= max(fraction * keeping, least)
    elif decision == "keep":
        assert not forces
        assert not differs or keeping - changing <= max(fraction * keeping, least)
    else:
        assert decision == "forced_change"
        assert forces


@given(USD, st.floats(0, 0.99), USD)
def test_equals_keep(usd: float, fraction: float, least: float) -> None:
    for differs in (False, True):
        assert decide(Kept(usd), Candidate("optimal", usd, differs), fraction, least)[0] == "keep"


@given(USD, USD, USD, st.floats(0, 0.99))
def test_what_is_cheaper_still_is_a_change_too(keeping: float, one: float, other: float, fraction: float) -> None:
    cheaper, dearer = sorted((one, other))
    if decide(Kept(keeping), Candidate("optimal", dearer), fraction, 0.0)[0] == "change":
        assert decide(Kept(keeping), Candidate("optimal", cheaper), fraction, 0.0)[0] == "change"
