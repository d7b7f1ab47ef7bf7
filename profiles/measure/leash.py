"""Run a command that must not outlive whoever started it: ``python -m profiles.measure.leash COMMAND ...``.

The command and its children are ended when standard input closes, which also happens when the starter is killed.
Otherwise a load generator whose run was killed would go on, and disturb the run that resumes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Run ``command`` in a process group of its own; its exit code, or 128 + the signal that ended it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  a list of ours
    threading.Thread(target=_end_with_stdin, args=(process.pid,), daemon=True).start()
    code = process.wait()
    _end(process.pid)  # what it left behind
    return code if code >= 0 else 128 - code


def _end_with_stdin(group: int) -> None:
    while os.read(0, 4096):  # not sys.stdin: a daemon thread inside its buffer breaks the interpreter's end
        pass
    _end(group)


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
