"""``python -m planner.tied MODULE WORDS ...``: runs a module as a program that ends when whoever started it is gone.

Whoever starts it holds the other end of its standard input, and never writes: a pipe ends with the process that holds
it, ``kill -9`` included.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from threading import Thread

ENDS_WITHIN_S = 15.0
"""For the program to end by itself: a service gives running jobs 10 s (``GPUPLAN_SHUTDOWN_S``)."""


def _end_with_the_pipe() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ENDS_WITHIN_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Thread(target=_end_with_the_pipe, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
