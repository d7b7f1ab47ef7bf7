"""Measuring: a serving endpoint (``endpoint``), or a GPU itself (``gpu_sweep``).

Both write a journal, a line per finished point, so that a run cut off in the middle resumes with what is missing.
``gpu_sweep`` and what it imports need Python and torch only: they run on a bare GPU machine.
"""
