"""Planning again every night: forecast, plan, compare, decide, report."""
