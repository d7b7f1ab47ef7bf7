"""Numbers in, proven counts and shares out."""

from __future__ import annotations

from dataclasses import dataclass

from planner.decompose import is_worthwhile, solve_decomposed
from planner.serving.dominance import without_dominated
from planner.serving.model import formulate
from planner.serving.problem import Answer, Problem
from planner.sift import solve_sifted
from planner.solver import Solution
from planner.types import SolveOptions


@dataclass(frozen=True)
class Optimum:
    """A solution and what it means; ``answer`` is None unless a feasible mix was found."""

    solution: Solution
    answer: Answer | None


def optimise(problem: Problem, options: SolveOptions) -> Optimum:
    """The best mix for ``problem``, with a proven bound.

    Each bucket must be servable by some pool (``planner.serving.infeasible`` says which are not).
    """
    formulation = formulate(without_dominated(problem))
    decomposable = not problem.goodput and is_worthwhile(formulation.program)
    solution = (solve_decomposed if decomposable else solve_sifted)(formulation.program, options)
    answer = formulation.answer(solution.values) if solution.values is not None else None
    return Optimum(solution, answer)
