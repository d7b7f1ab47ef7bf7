from collections.abc import Callable
from pathlib import Path

import pytest

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


HEADER = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,SpotPrice,AvailabilityZone\n"


@pytest.mark.parametrize(
    ("rows", "prices"),
    [
        ("m,H100,8,1,1,50,r,5,a", {"on_demand": 50}),  # exactly a tenth: AWS's placeholder
        ("m,L4,1,1,1,0.8048,r,0.0805,a", {"on_demand": 0.8048}),  # a tenth, rounded
        ("m,H100,8,1,1,50,r,50,a", {"on_demand": 50}),  # all of it: AWS's other one, and RunPod's
        ("m,H100,8,1,1,50,r,50.01,a", {"on_demand": 50}),  # above on-demand
        ("m,H100,8,1,1,50,r,5.51,a", {"on_demand": 50, "spot": 5.51}),  # 11%: real, on Azure
        ("m,H100,8,1,1,50,r,5,a\nm,H100,8,1,1,50,r,20,b", {"on_demand": 50, "spot": 20}),  # one zone's placeholder
        ("m,H100,8,1,1,50,r,50,a\nm,H100,8,1,1,55,r,30,b", {"on_demand": 50, "spot": 30}),
        ("m,H100,8,1,1,50,r,0,a", {"on_demand": 50}),
        ("m,H100,8,1,1,50,r,,a", {"on_demand": 50}),
        ("m,H100,8,1,1,0.05,r,0.01,a", {}),  # less than a cent per GPU
        ("m,H100,8,1,1,99999,r,20,a", {"spot": 20}),  # "ask us"
    ],
)
def test_placeholders_never_become_prices(
    tmp_path: Path, known: KnownNames, rows: str, prices: dict[str, float]
) -> None:
    path = tmp_path / "aws.csv"
    path.write_text(HEADER + rows + "\n")
    ingested = read("skypilot-catalogue", path, known, provider="aws")
    assert {price.market: price.usd_per_hour for price in ingested.batch.prices} == prices
    num_given = sum(float(cell or 0) > 0 for row in rows.split("\n") for cell in (row.split(",")[5], row.split(",")[7]))
    num_left_out = sum(int(note.split()[0]) for note in ingested.notes)
    assert num_left_out + len(prices) >= num_given - rows.count("\n")  # what is gone is counted


def test_a_placeholder_of_googles_host_is_no_price_of_the_machine(tmp_path: Path, known: KnownNames) -> None:
    path = tmp_path / "gcp.csv"
    rows = ["a2-ultragpu-8g,,,96,1360,10,us-east4,10,us-east4-c", ",A100-80GB,8,,,16,us-east4,7,us-east4-c"]
    path.write_text(HEADER + "\n".join(rows) + "\n")
    ingested = read("skypilot-catalogue", path, known, provider="gcp")
    assert {price.market: price.usd_per_hour for price in ingested.batch.prices} == {"on_demand": 26}
    assert ingested.notes == ("1 placeholder spot price left out",)
