"""A store with the built-in catalogue, plans from it, and targets to apply them to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine

from planner.provision import apply, local, replicas, shortage
from planner.provision.cluster import cluster_at
from planner.provision.driver import Driver
from planner.provision.kubernetes import driver_of
from planner.serving.plan import ServingPlan
from profiles import catalogue, db, store
from tests.planner.provision.cluster_api import ClusterApi
from tests.planner.provision.plans import plan


@pytest.fixture(scope="session")
def catalogue_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the catalogue, to copy."""
    path = tmp_path_factory.mktemp("store") / "catalogue.db"
    engine = db.initialise(f"sqlite:///{path}")
    store.add(engine, catalogue.load())
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture(scope="session", autouse=True)
def remembered() -> Iterator[None]:
    """Plans and checks are made once each: all tests know the same facts, and the same question has one answer."""

    def once(function: Callable[..., Any]) -> Callable[..., Any]:
        kept: dict[str, Any] = {}

        def called(*arguments: Any) -> Any:
            key = repr([part.model_dump_json() for part in arguments if isinstance(part, BaseModel)])
            if key not in kept:
                kept[key] = function(*arguments)
            return kept[key]

        return called

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "check_plan", once(apply.check_plan))
        patch.setattr(shortage, "answer", once(shortage.answer))
        yield


@pytest.fixture
def filled(catalogue_file: Path, tmp_path: Path) -> Iterator[Engine]:
    """A store of its own with the catalogue, in ``tmp_path / "gpuplan.db"``."""
    shutil.copy(catalogue_file, tmp_path / "gpuplan.db")
    engine = db.connect(f"sqlite:///{tmp_path / 'gpuplan.db'}")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def plans(catalogue_file: Path) -> tuple[ServingPlan, ServingPlan, ServingPlan]:
    """For 1, 8 and 20 requests/s: one small instance; two small and a large one; four large ones."""
    engine = db.connect(f"sqlite:///{catalogue_file}")
    made = plan(engine, 1.0), plan(engine, 8.0), plan(engine, 20.0)
    engine.dispose()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a local target; its replicas end with the test."""
    root = tmp_path / "local"
    yield root
    for records in root.glob("*/replicas"):
        shutil.rmtree(records)
    for child in replicas._children:
        child.wait(10)


@pytest.fixture
def here(folder: Path) -> Driver:
    """The local target."""
    return local.local_driver(folder)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterApi]:
    """A Kubernetes API, and a kubeconfig that leads there."""
    served = ClusterApi()
    (tmp_path / "kubeconfig").write_text(served.kubeconfig)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield served
    served.close()


@pytest.fixture
def cluster(api: ClusterApi) -> Driver:
    """The target in that API."""
    return driver_of(cluster_at(""))
