from collections.abc import Callable
from pathlib import Path

from profiles.ingest import read
from profiles.names import KnownNames


def test_prices_and_machines(sample: Callable[[str], Path], known: KnownNames) -> None:
    ingested = read("skypilot-catalogue", sample("skypilot-catalogue.csv"), known, provider="AWS", as_of="2026-01-01")
    machines = {machine.name: machine for machine in ingested.batch.instances}
    assert set(machines) == {"g6.xlarge", "p5.48xlarge", "gpu_1x"}
    assert (machines["p5.48xlarge"].gpu, machines["p5.48xlarge"].num_gpus) == ("H100", 8)
    assert (machines["g6.xlarge"].vcpus, machines["g6.xlarge"].memory_gib) == (4, 16)
    prices = {(p.instance_type, p.region, p.market): p.usd_per_hour for p in ingested.batch.prices}
    assert prices == {
        ("g6.xlarge", "us-east-1", "on_demand"): 0.8048,
        ("g6.xlarge", "us-east-1", "spot"): 0.40,  # the cheaper zone
        ("p5.48xlarge", "us-east-1", "on_demand"): 55.04,  # its spot price is a placeholder
        ("gpu_1x", "global", "on_demand"): 2.5,  # its spot price is the price, its region blank
    }
    assert all(price.provider == "aws" for price in ingested.batch.prices)
    assert ingested.notes == (
        "1 row skipped: GPU Trainium is not in the catalogue",
        "1 row skipped: no GPU",
        "2 placeholder spot prices left out",
    )


def test_googles_hosts_and_gpus_are_summed_in_one_zone(sample: Callable[[str], Path], known: KnownNames) -> None:
    ingested = read("skypilot-catalogue", sample("skypilot-google.csv"), known, provider="gcp")
    (machine,) = ingested.batch.instances
    assert (machine.name, machine.gpu, machine.num_gpus) == ("a2-ultragpu-8g", "A100-80GB", 8)
    prices = {price.market: price.usd_per_hour for price in ingested.batch.prices}
    assert prices == {"on_demand": 26.5, "spot": 18.0}
    assert "1 unpriced Google host left out" in ingested.notes
