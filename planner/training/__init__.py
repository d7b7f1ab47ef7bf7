"""Which degrees of parallelism train a model fastest or cheapest on a real cluster, and which rank runs where."""
