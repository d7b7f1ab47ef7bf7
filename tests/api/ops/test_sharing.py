"""Processes that count together: each in a file of its own, and no more files than processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from api.ops import sharing

COUNTS = """
import sys, os, signal
from api.ops.metrics import job_ended
job_ended("plan", "done", 1.0)
print("up", flush=True)
if sys.argv[1] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""
ADDS_UP = """
import sys
from sqlalchemy import create_engine
from api.ops.metrics import exposition
text = exposition(create_engine("sqlite://")).decode()
print([line for line in text.splitlines() if line.startswith("gpuplan_jobs_ended_total")])
"""


def _started(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTS, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_counts_add_up_and_outlive_who_counted() -> None:
    assert sharing.VARIABLE not in os.environ
    with sharing.share():
        directory = Path(os.environ[sharing.VARIABLE])
        for _ in range(3):  # one after the other, killed
            assert _started("die").wait() == -9
        together = [_started("stay") for _ in range(2)]
        slots = {path.stem.rpartition("_")[2] for path in directory.glob("*.db")}
        assert slots == {"0", "1"}, "who follows a dead process goes on in its file"
        told = subprocess.run([sys.executable, "-c", ADDS_UP], capture_output=True, text=True, check=True).stdout
        assert told == '[\'gpuplan_jobs_ended_total{kind="plan",state="done"} 5.0\']\n'
        for process in together:
            process.communicate("")
    assert not directory.exists()
    assert sharing.VARIABLE not in os.environ
