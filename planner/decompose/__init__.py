"""Large block-angular programs: many parts, each easy alone, that share a few rows (Dantzig–Wolfe).

``parts`` splits a program, ``pool`` keeps solutions of single blocks, ``prices`` proves the bound, ``answers`` finds
integer answers, ``search`` runs them within the time limit.
"""

from planner.decompose.search import is_worthwhile, solve_decomposed

__all__ = ["is_worthwhile", "solve_decomposed"]
