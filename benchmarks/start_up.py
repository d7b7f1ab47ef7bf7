"""Time of `gpuplan plan` on the bundled example, whole process, database warm.

Run: python benchmarks/start_up.py [--runs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "chat.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    gpuplan = str(Path(sys.executable).with_name("gpuplan"))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "GPUPLAN_DATABASE_URL": f"sqlite:///{folder}/store.db"}

        def timed(*arguments: str) -> float:
            started = time.perf_counter()
            subprocess.run([gpuplan, *arguments], env=environment, check=True, capture_output=True)  # noqa: S603
            return time.perf_counter() - started

        print(f"gpuplan init, first: {timed('init'):.2f} s; again: {timed('init'):.2f} s")
        for arguments in (("--help",), ("plan", "serving", str(EXAMPLE))):
            seconds = [timed(*arguments) for _ in range(runs)]
            spread = f"min {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s, max {max(seconds):.2f} s"
            print(f"gpuplan {' '.join(arguments[:2])}: {spread} over {runs} runs")


if __name__ == "__main__":
    main()
