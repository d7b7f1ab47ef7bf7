"""The service in this process: a store with the catalogue, its application, callers with keys, and a worker."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.access import keys_store
from api.app import create_app
from api.jobs import queue
from api.jobs.work import WORKS, problem
from planner.command import initialise_store
from planner.settings import Settings
from profiles.db import connect

LOOPBACK = ("127.0.0.1", 50_000)


@pytest.fixture(scope="session")
def store_with_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests copy: making it takes a second."""
    path = tmp_path_factory.mktemp("catalogue") / "store.db"
    engine = initialise_store(f"sqlite:///{path}")[0]
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture
def service_store(store_with_catalogue: Path, tmp_path: Path) -> Iterator[Engine]:
    """A store of its own with the catalogue."""
    path = tmp_path / "service.db"
    shutil.copyfile(store_with_catalogue, path)
    engine = connect(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def app(service_store: Engine) -> FastAPI:
    """The application, open to the loopback, without a worker."""
    return create_app(service_store, Settings(), open_to_loopback=True)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A caller on this machine."""
    with TestClient(app, base_url="http://127.0.0.1", client=LOOPBACK) as made:
        yield made


@pytest.fixture
def key_for(service_store: Engine) -> Callable[..., dict[str, str]]:
    """Makes keys; gives the header that shows one."""

    def make(*scopes: str) -> dict[str, str]:
        _, text = keys_store.create(service_store, "test", scopes, None)  # type: ignore[arg-type]
        return {"Authorization": f"Bearer {text}"}

    return make


@pytest.fixture
def worker(service_store: Engine) -> Iterator[None]:
    """Does all jobs in a thread of this process, as the real worker does them in a process of its own."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            claim = queue.claim(service_store, "test")
            if claim is None:
                stopping.wait(0.02)
                continue
            try:
                done = WORKS[claim.job.kind].run(claim.job.request, service_store)
                queue.finish(service_store, claim, done.plan_id, done.result)
            except Exception as error:
                queue.fail(service_store, claim, problem(error, claim.job))

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopping.set()
    thread.join()
