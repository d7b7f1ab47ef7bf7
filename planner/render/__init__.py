"""Plans as files for real systems: one module per kind of plan, one function per system."""
