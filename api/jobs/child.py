"""One worker process as its supervisor holds it: the other ends of its standard input and output."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import IO, cast

from planner.identity import new_id
from planner.settings import Settings

READY = b"ready\n"
"""What a worker writes to standard output, once, when its first look into the queue has succeeded."""
GRACE_S = 2.0
"""For work to stop by itself, at the next progress that it tells, before its process is ended."""


class Child:
    """A process that runs ``module`` (see ``api.jobs.worker``) in a process group of its own.

    It is told by a pipe to go, and that pipe ends with this process too, so that no worker outlives its supervisor.
    """

    def __init__(self, module: str, settings: Settings) -> None:
        self.name = new_id()
        # The child imports what this process imports, and nothing that happens to lie in the current directory.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and nothing of a request
            [sys.executable, "-P", "-m", module, self.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self._to, self._from = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        with suppress(BrokenPipeError):  # then it is dead already, and found to be
            self._to.write(settings.model_dump_json().encode() + b"\n")  # not on the command line: it holds a password
        os.set_blocking(self._to.fileno(), False)
        os.set_blocking(self._from.fileno(), False)
        self._ready = False

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """It has looked into the queue at least once."""
        if not self._ready:
            self._ready = self._from.read(len(READY)) == READY
        return self._ready

    @property
    def dead(self) -> bool:
        """It has ended, or was ended."""
        # Not reaped yet: until it is buried its number belongs to it, and nobody else can be killed in its place.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wake(self) -> None:
        """Tell it that a job came in. Never waits: a full pipe has told it often enough."""
        with suppress(BlockingIOError, BrokenPipeError):
            self._to.write(b"!")

    def let_go(self) -> None:
        """Tell it to go."""
        self._to.close()

    def bury(self) -> str:
        """Kill it, and what it left behind, and say how it died."""
        was_dead = self.dead
        with suppress(ProcessLookupError, PermissionError):  # only what is left of it: nothing, as a rule
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        self._to.close()
        self._from.close()
        if not was_dead:
            return "its process had to be killed"
        if code >= 0:
            return f"its process ended with exit code {code}"
        memory = " (too little memory?)" if code == -signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{memory}"
