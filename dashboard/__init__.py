"""The what-if dashboard: a client of the REST service, one file per page. ``gpuplan dashboard`` starts it."""
