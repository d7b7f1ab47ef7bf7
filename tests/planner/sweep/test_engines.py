"""Items spread over worker processes: order, deaths, errors, stopping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.errors import InvalidInput
from planner.progress import showing
from planner.sweep import engines
from planner.sweep.engines import Lost, run_all
from tests.planner.sweep import work

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_num_cpus", lambda: 2)
    monkeypatch.syspath_prepend(str(ROOT))  # workers import what they do by its name


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("count", [0, 1, 3, 4, 150])
def test_answers_keep_the_order_of_the_items(count: int) -> None:
    told: list[float] = []
    with showing(lambda _, share: told.append(share)):
        found = run_all(work.squared, 5, range(count), label="items", engine="local")
    assert found == [(5, i * i) for i in range(count)]
    assert told == sorted(told)


def test_an_item_that_kills_its_workers_costs_no_other_its_answer(tmp_path: Path) -> None:
    found = run_all(work.deadly, tmp_path, range(30), label="items", engine="local")
    lost = {i for i, answer in enumerate(found) if isinstance(answer, Lost)}
    assert lost == {7, 12}
    assert [answer for i, answer in enumerate(found) if i not in lost] == [i for i in range(30) if i not in lost]
    # Alone it was tried as often as is allowed, and no more; before that it was in a part once or twice.
    assert engines.MOST_DEATHS <= len(list(tmp_path.glob("7-*"))) <= engines.MOST_DEATHS + 2


def test_an_error_of_the_function_is_raised() -> None:
    with pytest.raises(ArithmeticError, match="eleven"):
        run_all(work.wrong, 1, range(30), label="items", engine="local")


def test_who_listens_may_stop_it_and_no_process_is_left(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(_: str, __: float) -> None:
        if len(list(tmp_path.iterdir())) >= 2:
            raise Stop

    started = time.monotonic()
    with showing(stop), pytest.raises(Stop):
        run_all(work.slow, tmp_path, range(30), label="items", engine="local")
    assert time.monotonic() - started < 30  # each item would take a minute
    until(lambda: not any(is_alive(int(mark.name)) for mark in tmp_path.iterdir()))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from planner.sweep import engines; from tests.planner.sweep import work\n"
        "engines._num_cpus = lambda: 2\n"
        f"engines.run_all(work.slow, Path({str(tmp_path)!r}), range(9), label='items', engine='local')\n"
    )
    main = tmp_path.parent / "main.py"
    main.write_text("if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in program.splitlines()))
    parent = subprocess.Popen([sys.executable, str(main)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(mark.name) for mark in tmp_path.iterdir()]
    assert all(map(is_alive, workers))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not any(map(is_alive, workers)))


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "planner.sweep.on_ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("GPUPLAN_ENGINE", "ray")
    with pytest.raises(InvalidInput) as error:
        run_all(work.squared, 5, range(9), label="items")
    assert error.value.field == "GPUPLAN_ENGINE"
    assert "gpuplan[ray]" in str(error.value.fix)
