"""Keys of the contract that more than one test file holds plans against."""

EVERY_PLAN = {
    "kind", "outcome", "objective", "bound", "gap", "solver", "solve_seconds", "spec", "profile_digest", "check",
}  # fmt: skip
