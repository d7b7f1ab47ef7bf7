"""One file per kind of thing that the service speaks of."""
