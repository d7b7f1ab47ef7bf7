"""Sweeps on Ray: the same answers as on the local engine, nothing heard beyond loopback, deaths survived."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.documents import validated
from planner.errors import InvalidInput
from planner.settings import settings
from planner.sweep import engines
from planner.sweep.engines import Lost, run_all
from planner.sweep.run import sweep
from planner.sweep.spec import SweepRequest
from tests.planner.sweep import work
from tests.planner.sweep.problems import PRICE, RATE, SPEC, facts

ROOT = Path(__file__).parents[3]

NUM_RATES = int(os.environ.get("GPUPLAN_SWEEP_RATES", "20"))
"""Scenarios are ten times as many; 100 make a thousand, which takes a minute more."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One local cluster for all tests here, started the way a sweep starts its own."""
    on_ray = pytest.importorskip("planner.sweep.on_ray")  # not Ray itself: it reads its settings when imported
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # for its workers, which import what they do by its name
        on_ray._connect(settings().ray_address)
        yield
        on_ray.ray.shutdown()


def test_all_scenarios_give_identical_answers_on_both_engines(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_num_cpus", lambda: 2)
    vary = [{"path": RATE, "values": [0.3 * i for i in range(1, NUM_RATES + 1)]},
            {"path": PRICE, "values": [{"times": 0.4 + 0.15 * i} for i in range(9)] + [-1]}]  # fmt: skip
    request, known = validated(SweepRequest, {"kind": "serving", "spec": SPEC, "vary": vary}), facts()
    on_ray, local = sweep(request, known, "ray"), sweep(request, known, "local")
    assert on_ray == local
    assert len(local.rows) == 10 * NUM_RATES
    assert local.num_failed == NUM_RATES  # the negative price
    assert len({row.digest for row in local.rows}) == 9 * NUM_RATES + 1


def test_items_that_kill_their_workers_cost_no_other_its_answer(cluster: None, tmp_path: Path) -> None:
    found = run_all(work.deadly, tmp_path, range(24), label="items", engine="ray")
    assert [i for i, answer in enumerate(found) if isinstance(answer, Lost)] == [7, 12]
    assert [answer for answer in found if not isinstance(answer, Lost)] == [i for i in range(24) if i not in (7, 12)]


def test_an_error_of_the_function_is_raised(cluster: None) -> None:
    with pytest.raises(ArithmeticError, match="eleven"):
        run_all(work.wrong, 1, range(20), label="items", engine="ray")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
def test_it_listens_on_loopback_only_and_reports_to_nobody(cluster: None) -> None:
    tables = (Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    cells = [line.split() for table in tables for line in table]
    sockets = {cell[9]: cell[1] for cell in cells if cell[3] == "0A"}  # of those that listen: their address
    heard = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) == os.getpid() or not _descends_from_us(int(process.name)):
                continue
            if b"ray" not in (process / "cmdline").read_bytes():  # other tests' servers
                continue
            for link in (process / "fd").iterdir():
                inode = os.readlink(link).removeprefix("socket:[").removesuffix("]")
                heard |= {sockets[inode]} if inode in sockets else set()
        except OSError:  # it ended meanwhile
            continue
    addresses = {address.rpartition(":")[0] for address in heard}
    assert addresses
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def _descends_from_us(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    on_ray = pytest.importorskip("planner.sweep.on_ray")

    def refused(*_: object, **__: object) -> None:
        raise ConnectionError("could not find a GCS at 127.0.0.1:1")

    monkeypatch.setattr(on_ray.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(on_ray.ray, "init", refused)
    with pytest.raises(InvalidInput) as error:
        run_all(work.squared, 1, range(9), label="items", engine="ray")
    assert error.value.field == "GPUPLAN_RAY_ADDRESS"
    assert "127.0.0.1:1" in error.value.detail
