"""``examples/replan/replay.py``, run as its docstring says, for two nights."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_two_nights_cost_less_than_one_plan_for_their_busiest_hour() -> None:
    run = [sys.executable, "examples/replan/replay.py", "--nights", "2"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second, total = done.stdout.splitlines()
    assert re.fullmatch(r"Mon 02 Feb  first plan +\$ +\d+\.\d\d  +\d+ of 24 hours above the plan", first)
    assert second.startswith("Tue 03 Feb")
    share = re.match(r"2 nights, \d of them kept as they were: \$[\d.]+, (\d+)% of the", total)
    assert share is not None
    assert 40 < int(share[1]) < 90
