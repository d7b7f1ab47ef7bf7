"""What is run on the leash ends with whoever holds it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.measure import leash

LEASH = [sys.executable, leash.__file__]
PARENT_AND_CHILD = (
    "import subprocess, sys, os, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "open(sys.argv[1] + '.part', 'w').write(f'{os.getpid()} {child.pid}'); "
    "os.rename(sys.argv[1] + '.part', sys.argv[1]); time.sleep(600)"
)
Eventually = Callable[[Callable[[], bool]], None]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_that_of_the_command(code: int) -> None:
    process = subprocess.Popen([*LEASH, sys.executable, "-c", f"raise SystemExit({code})"], stdin=subprocess.PIPE)
    assert process.wait(60) == code


def test_closing_the_pipe_ends_command_and_children(tmp_path: Path, eventually: Eventually) -> None:
    told = tmp_path / "pids"
    process = subprocess.Popen([*LEASH, sys.executable, "-c", PARENT_AND_CHILD, str(told)], stdin=subprocess.PIPE)
    eventually(told.exists)
    pids = [int(pid) for pid in told.read_text().split()]
    assert all(alive(pid) for pid in pids)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 128 + signal.SIGKILL
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_killing_the_holder_ends_command_and_children(tmp_path: Path, eventually: Eventually) -> None:
    told = tmp_path / "pids"
    hold = "import subprocess, sys, time; held = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", hold, *LEASH, sys.executable, "-c", PARENT_AND_CHILD, str(told)])
    eventually(told.exists)
    pids = [int(pid) for pid in told.read_text().split()]
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(60)
    eventually(lambda: not any(alive(pid) for pid in pids))
