from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.routers import coverage
from profiles import store
from profiles.types import Batch, Facts


@pytest.fixture
def facts(service_store: Engine) -> Facts:
    return store.snapshot(service_store)


def test_every_measured_pair_is_a_cell(client: TestClient, facts: Facts) -> None:
    answer = client.get("/v1/profiles/coverage")
    cells = {(cell["model"], cell["gpu"]): cell for cell in answer.json()["cells"]}
    measured = (*facts.measurements, *facts.training_measurements, *facts.layer_measurements, *facts.rate_profiles)
    assert cells.keys() == {(m.model, m.gpu) for m in measured}
    assert sum(sum(cell["num"].values()) for cell in cells.values()) == len(measured)
    (model, gpu), cell = next((pair, cell) for pair, cell in cells.items() if cell["num_powers"])
    here = [m for m in facts.measurements if (m.model, m.gpu) == (model, gpu)]
    assert cell["num"]["measurements"] == len(here)
    assert cell["num_powers"] == sum(m.mean_power_w is not None for m in here)
    assert (cell["oldest"], cell["newest"]) == (str(min(m.as_of for m in here)), str(max(m.as_of for m in here)))
    assert cell["engines"] == sorted({m.engine for m in here})
    same = client.get("/v1/profiles/coverage", headers={"If-None-Match": answer.headers["ETag"]})
    assert same.status_code == 304


def test_the_least_measured_are_left_out_and_counted(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = client.get("/v1/profiles/coverage").json()["cells"]
    monkeypatch.setattr(coverage, "MOST_CELLS", 3)
    cut = client.get("/v1/profiles/coverage").json()
    assert cut["cells"] == whole[:3]
    assert cut["num_left_out"] == len(whole) - 3
    numbers = [sum(cell["num"].values()) for cell in whole]
    assert numbers == sorted(numbers, reverse=True)


def test_lists_say_how_many_there_are(client: TestClient, facts: Facts) -> None:
    page = client.get("/v1/profiles/measurements?limit=5&gpu=h100").json()
    assert page["num_found"] == sum(m.gpu == "H100" for m in facts.measurements)


def test_the_cheapest_gpu_is_a_share_of_its_instance(client: TestClient, service_store: Engine, facts: Facts) -> None:
    items = client.get("/v1/prices/cheapest").json()["items"]
    gpu_of = {(i.provider, i.name): (i.gpu, i.num_gpus) for i in facts.instances}
    for one in items:
        each = [
            price.usd_per_hour / gpu_of[price.provider, price.instance_type][1]
            for price in facts.prices
            if gpu_of[price.provider, price.instance_type][0] == one["gpu"] and price.market == one["market"]
        ]
        assert one["usd_per_gpu_hour"] == pytest.approx(min(each))
        assert one["num_prices"] == len(each)
    costs = [one["usd_per_gpu_hour"] for one in items]
    assert costs == sorted(costs)

    price = facts.prices[0].model_copy(update={"usd_per_hour": 0.01, "as_of": dt.date(2030, 1, 1)})
    store.add(service_store, Batch(prices=(price,)))
    client.app.state.facts.forget()  # type: ignore[attr-defined]
    first = client.get("/v1/prices/cheapest").json()["items"][0]
    assert (first["instance_type"], first["usd_per_hour"]) == (price.instance_type, 0.01)
