"""Our own files: what is written is read back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles import catalogue
from profiles.errors import InvalidInput
from profiles.ingest import read, write
from profiles.names import KnownNames
from profiles.types import Batch, Facts, RateProfile

NOTHING_KNOWN = KnownNames({}, {})


def test_json_round_trip_keeps_everything(tmp_path: Path) -> None:
    profile = RateProfile(
        name="p", model="m", gpu="L4", input_tokens=(1, 2), output_tokens=(3,), requests_per_s=((0.1,), (0,)),
        source="s", as_of="2026-01-01",
    )  # fmt: skip
    batch = catalogue.load().model_copy(update={"rate_profiles": (profile,)})
    assert write(batch, tmp_path / "all.json") == ()
    # The file knows its own GPUs and models.
    assert read("gpuplan", tmp_path / "all.json", NOTHING_KNOWN).batch == batch


def test_csv_round_trip_keeps_the_measurements(tmp_path: Path, known: KnownNames) -> None:
    batch = catalogue.load()
    (note,) = write(batch, tmp_path / "all.csv")
    assert "13 gpus" in note
    assert read("gpuplan", tmp_path / "all.csv", known).batch == Batch(measurements=batch.measurements)


def test_a_snapshot_is_a_batch_with_a_digest(tmp_path: Path, known: KnownNames) -> None:
    gpus = catalogue.load().gpus[:1]
    (tmp_path / "snapshot.json").write_text(Facts(gpus=gpus, digest="abc").model_dump_json())
    assert read("gpuplan", tmp_path / "snapshot.json", known).batch == Batch(gpus=gpus)


def test_names_become_catalogue_names(sample: Callable[[str], Path], known: KnownNames) -> None:
    first, second = read("gpuplan", sample("gpuplan.csv"), known).batch.measurements
    assert (first.model, first.gpu) == ("meta-llama/Llama-3.1-8B-Instruct", "H100")
    assert (second.precision, second.engine) == ("unknown", "unknown")


def test_provenance_fills_in_where_there_is_none(edited: Callable[..., Path], known: KnownNames) -> None:
    path = edited("gpuplan.csv", ("12,our own run,2026-04-01", "12,,"))
    with pytest.raises(InvalidInput) as error:
        read("gpuplan", path, known)
    assert error.value.field == "gpuplan.csv:3: source"
    first, second = read("gpuplan", path, known, source="lab", as_of="2026-06-01").batch.measurements
    assert (first.source, second.source) == ("our own run", "lab")


def test_an_unknown_column_is_refused(edited: Callable[..., Path], known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="has columns that gpuplan files do not: 'motor'"):
        read("gpuplan", edited("gpuplan.csv", ("engine", "motor")), known)


def test_a_row_that_measures_nothing_is_refused(edited: Callable[..., Path], known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="measures nothing") as error:
        read("gpuplan", edited("gpuplan.csv", ("1,40,12", "1,,")), known)
    assert error.value.field == "gpuplan.csv:3"


def test_an_end_to_end_time_below_the_ttft_is_refused(edited: Callable[..., Path], known: KnownNames) -> None:
    path = edited("gpuplan.csv", ("concurrency,ttft_ms,tpot_ms", "e2e_ms,ttft_ms,tpot_ms"))
    with pytest.raises(InvalidInput, match="less than the TTFT") as error:
        read("gpuplan", path, known)
    assert "gpuplan.csv:2: e2e_ms" in str(error.value)


def test_every_bad_fact_of_a_document_is_told(tmp_path: Path, known: KnownNames) -> None:
    good = {"model": "m", "gpu": "H100", "tpot_ms": 9, "source": "s", "as_of": "2026-01-01"}
    path = tmp_path / "bad.json"
    path.write_text(
        json.dumps({"measurements": [good, {**good, "tp": 0}, {**good, "speed": 1}, {**good, "source": None}]})
    )
    with pytest.raises(InvalidInput) as error:
        read("gpuplan", path, known)
    assert "bad.json: measurements[1].tp: must be greater than or equal to 1, not 0" in str(error.value)
    assert "bad.json: measurements[2].speed" in str(error.value)
    assert "bad.json: measurements[3].source: is missing or blank" in str(error.value)


def test_unknown_gpus_of_a_document_are_told(tmp_path: Path, known: KnownNames) -> None:
    row = {"model": "m", "gpu": "H1000", "tpot_ms": 9, "source": "s", "as_of": "2026-01-01"}
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"measurements": [row]}))
    with pytest.raises(InvalidInput, match="unknown GPU") as error:
        read("gpuplan", path, known)
    assert error.value.field == "bad.json: measurements[0].gpu"


def test_writing_is_refused_for_other_suffixes_and_places(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot write \.xlsx"):
        write(Batch(), tmp_path / "a.xlsx")
    with pytest.raises(InvalidInput, match="cannot be written"):
        write(Batch(), tmp_path / "none" / "a.json")


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    write(Batch(), tmp_path / "a.json")
    write(Batch(), tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
