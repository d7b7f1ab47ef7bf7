"""Price lists of gpuhunt: as files, and as the package itself writes and offers them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest import gpuhunt as ours
from profiles.ingest import read
from profiles.ingest.format import Options
from profiles.names import KnownNames

PRICES = {
    ("g6.xlarge", "us-east-1", "on_demand"): 0.8048,
    ("g6.xlarge", "us-east-1", "spot"): 0.35,
    ("p4d.24xlarge", "us-east-1", "on_demand"): 32.77,  # its spot price is a tenth: a placeholder
    ("p4de.24xlarge", "us-east-1", "on_demand"): 40.97,
    ("p5.48xlarge", "us-east-1", "on_demand"): 98.32,  # its spot price is above on-demand
}


def priced(ingested: ours.Ingested) -> dict[tuple[str, str, str], float]:
    return {(p.instance_type, p.region, p.market): p.usd_per_hour for p in ingested.batch.prices}


def test_prices_and_machines(sample: Callable[[str], Path], known: KnownNames) -> None:
    ingested = read("gpuhunt", sample("gpuhunt.csv"), known, provider="AWS")
    assert priced(ingested) == PRICES
    gpus = {machine.name: (machine.gpu, machine.num_gpus) for machine in ingested.batch.instances}
    assert gpus == {
        "g6.xlarge": ("L4", 1),
        "p4d.24xlarge": ("A100-40GB", 8),  # gpuhunt calls both an A100: their memory tells them apart
        "p4de.24xlarge": ("A100-80GB", 8),
        "p5.48xlarge": ("H100", 8),
    }
    assert ingested.notes == (
        "1 row skipped: GPU V100 of 32 GB is not in the catalogue",
        "1 row skipped: no GPU",
        "2 placeholder spot prices left out",
        "1 price that no GPU has left out",
    )


def test_the_file_name_says_the_cloud(sample: Callable[[str], Path], known: KnownNames, tmp_path: Path) -> None:
    path = tmp_path / "aws.csv"
    path.write_bytes(sample("gpuhunt.csv").read_bytes())
    assert {price.provider for price in read("gpuhunt", path, known).batch.prices} == {"aws"}
    assert {price.provider for price in read("gpuhunt", path, known, provider="x").batch.prices} == {"x"}
    with pytest.raises(InvalidInput, match="--provider"):
        read("gpuhunt", sample("gpuhunt.csv"), known)


def test_googles_zones_are_folded_into_the_cheapest(edited: Callable[..., Path], known: KnownNames) -> None:
    text = edited("gpuhunt.csv", ("us-east-1,0.8048", "us-east4-a,0.8048"), ("us-east-1,0.3500", "us-east4-b,0.3500"))
    found = priced(read("gpuhunt", text, known, provider="gcp"))
    assert {key: found[key] for key in found if key[0] == "g6.xlarge"} == {
        ("g6.xlarge", "us-east4", "on_demand"): 0.8048,
        ("g6.xlarge", "us-east4", "spot"): 0.35,
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("16.0,1,L4,24.0,True", "16.0,1,L4,24.0,maybe", "gpuhunt.csv:3: spot: must be True or False, not 'maybe'"),
        ("32.77", "-32.77", "gpuhunt.csv:4: price: must not be negative"),
        ("40.97", "nan", "gpuhunt.csv:6: price: must be a finite number"),
        ("8,H100,80.0,False", "7.5,H100,80.0,False", "gpuhunt.csv:7: gpu_count: must be a whole number, not '7.5'"),
        ("p5.48xlarge,us-east-1,99", "p5.48xlarge,,99", "gpuhunt.csv:8: location: is missing"),
    ],
)
def test_bad_rows_are_named(edited: Callable[..., Path], known: KnownNames, old: str, new: str, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read("gpuhunt", edited("gpuhunt.csv", (old, new)), known, provider="aws")
    assert said in str(error.value)


def test_what_the_package_writes_is_read(tmp_path: Path, known: KnownNames, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own writer, its own catalogue: the same facts from the file and from asking the package."""
    gpuhunt = pytest.importorskip("gpuhunt")
    storage = pytest.importorskip("gpuhunt._internal.storage")

    def item(name: str, gpu: str, gib: float, price: float, spot: bool) -> object:
        return gpuhunt.CatalogItem(
            provider="aws", instance_name=name, location="us-east-1", price=price, cpu=8, memory=64.0, gpu_count=1,
            gpu_name=gpu, gpu_memory=gib, spot=spot, disk_size=None, gpu_vendor=gpuhunt.AcceleratorVendor.NVIDIA,
        )  # fmt: skip

    items = [item("a", "A100", 80, 4.0, False), item("a", "A100", 80, 1.5, True), item("h", "H100", 80, 9.0, False),
             item("h", "H100", 80, 0.9, True), item("n", "H100NVL", 94, 7.0, False)]  # fmt: skip
    storage.dump(items, str(tmp_path / "aws.csv"))
    from_file = read("gpuhunt", tmp_path / "aws.csv", known, as_of="2026-01-01")
    assert priced(from_file) == {
        ("a", "us-east-1", "on_demand"): 4.0,
        ("a", "us-east-1", "spot"): 1.5,
        ("h", "us-east-1", "on_demand"): 9.0,
    }
    monkeypatch.setenv("GPUHUNT_CATALOG_DIR", str(tmp_path))
    asked = ours.offers(known, Options.model_validate({"provider": "aws", "as_of": "2026-01-01"}))
    assert {*asked.batch.prices} == {*from_file.batch.prices}
    assert {*asked.batch.instances} == {*from_file.batch.instances}
    assert [note.replace("offer", "row") for note in asked.notes] == list(from_file.notes)


def test_asking_the_package_fails_with_words(
    known: KnownNames, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UnknownName, match="vastai"):
        ours.offers(known, Options(provider="vastai"))
    with pytest.raises(InvalidInput, match="--provider"):
        ours.offers(known, Options())
    pytest.importorskip("gpuhunt")
    monkeypatch.setenv("GPUHUNT_CATALOG_DIR", str(tmp_path / "nothing"))
    with pytest.raises(InvalidInput, match="cannot be asked"):
        ours.offers(known, Options(provider="aws"))
    monkeypatch.setitem(__import__("sys").modules, "gpuhunt", None)
    with pytest.raises(InvalidInput, match=r"gpuplan\[prices\]"):
        ours.offers(known, Options(provider="aws"))
