"""What every CSV format does with a file that is not right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.errors import InvalidInput
from profiles.ingest import FORMATS, read
from profiles.names import KnownNames

TABLES = [name for name, form in FORMATS.items() if form.columns]
OPTIONS = {"skypilot-catalogue": {"provider": "aws"}, "gpuhunt": {"provider": "aws"}}

Sample = Callable[[str], Path]
Edited = Callable[..., Path]


def refused(name: str, path: Path, known: KnownNames) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        read(name, path, known, **OPTIONS.get(name, {}))
    return error.value


@pytest.mark.parametrize("name", TABLES)
def test_a_sample_reads_and_every_fact_names_its_source(name: str, sample: Sample, known: KnownNames) -> None:
    batch = read(name, sample(f"{name}.csv"), known, **OPTIONS.get(name, {})).batch
    facts = [fact for kind in type(batch).model_fields for fact in getattr(batch, kind)]
    assert facts
    assert all(fact.source for fact in facts)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b'{"benchmarks": []}', "looks like JSON"),
        (b"\xef\xbb\xbf[1, 2]", "looks like JSON"),
        (b"a,b\n1,2\n", "has no column"),
        (b"a,a\n1,2\n", "twice"),
        (b",".join(b"c%d" % i for i in range(200_000)), "200,000 columns"),  # not compared each with each
        (b"\x1f\x8b\x08\x00", "is gzip"),
        (b"PK\x03\x04xx", "zip"),
        (b"a\0b", "is binary"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        ("gpu,modèle\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(name: str, content: bytes, said: str, tmp_path: Path, known: KnownNames) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    error = refused(name, path, known)
    assert said in error.detail
    assert error.field is not None
    assert error.field.startswith("file.csv")
    assert error.fix


@pytest.mark.parametrize("name", TABLES)
def test_a_header_without_rows_is_refused(name: str, sample: Sample, tmp_path: Path, known: KnownNames) -> None:
    path = tmp_path / "file.csv"
    path.write_text(sample(f"{name}.csv").read_text().splitlines()[0] + "\n\n")
    assert "no rows" in refused(name, path, known).detail


def test_a_byte_order_mark_and_windows_line_ends_are_fine(sample: Sample, tmp_path: Path, known: KnownNames) -> None:
    path = tmp_path / "helix.csv"
    path.write_bytes(b"\xef\xbb\xbf" + sample("helix.csv").read_bytes().replace(b"\n", b"\r\n"))
    assert read("helix", path, known).batch == read("helix", sample("helix.csv"), known).batch


def test_a_renamed_column_is_pointed_at(edited: Edited, known: KnownNames) -> None:
    error = refused("inference-latency", edited("inference-latency.csv", ("ttft_ms", "ttft")), known)
    assert error.field == "inference-latency.csv:1"
    assert error.fix == "'ttft_ms' may be 'ttft' here"


def test_a_file_of_another_format_is_recognised(sample: Sample, known: KnownNames) -> None:
    error = refused("helix", sample("inference-power.csv"), known)
    assert error.fix is not None
    assert "inference-power" in error.fix


@pytest.mark.parametrize("bad", ["-1", "nan", "inf", "0", "fast", "1e999"])
def test_an_impossible_number_is_refused_where_it_stands(bad: str, edited: Edited, known: KnownNames) -> None:
    error = refused("inference-latency", edited("inference-latency.csv", ("101.5", bad)), known)
    assert error.field == "inference-latency.csv:2: ttft_ms"
    assert repr(bad) in error.detail


@pytest.mark.parametrize("bad", ["-2", "1.5", "two"])
def test_an_impossible_degree_is_refused(bad: str, edited: Edited, known: KnownNames) -> None:
    error = refused("inference-latency", edited("inference-latency.csv", ("fp8,4,1", f"fp8,{bad},1")), known)
    assert error.field == "inference-latency.csv:2: tp"


def test_a_ragged_row_is_refused(edited: Edited, known: KnownNames) -> None:
    error = refused("inference-latency", edited("inference-latency.csv", ("2026-01-14", "2026-01-14,extra")), known)
    assert error.detail == "has 17 cells, the header has 16"
    assert error.field == "inference-latency.csv:2"


def test_an_unclosed_quote_is_refused(edited: Edited, known: KnownNames) -> None:
    error = refused("inference-latency", edited("inference-latency.csv", ("2026-01-14", '"2026-01-14')), known)
    assert "is not CSV" in error.detail


@pytest.mark.parametrize(("milliseconds", "seconds"), [("14.25", "0.01425"), ("101.5", "0.1015")])
def test_seconds_are_told_from_milliseconds(milliseconds: str, seconds: str, edited: Edited, known: KnownNames) -> None:
    error = refused("inference-latency", edited("inference-latency.csv", (milliseconds, seconds)), known)
    assert error.fix == f"times are in milliseconds; if this one is in seconds write {milliseconds}"


def test_an_unknown_gpu_gets_suggestions(edited: Edited, known: KnownNames) -> None:
    error = refused("inference-latency", edited("inference-latency.csv", ("h100_sxm", "h1000")), known)
    assert error.field == "inference-latency.csv:2: gpu_system"
    assert error.fix is not None
    assert "H100" in error.fix


def test_all_bad_rows_are_told_at_once_up_to_twenty(tmp_path: Path, known: KnownNames) -> None:
    path = tmp_path / "many.csv"
    rows = [f"llama2_70b,t4,decode,{size},-1\n" for size in range(1, 31)]
    path.write_text("model,gpu,phase,batch_tokens_or_requests,ms_per_layer\n" + "".join(rows))
    error = refused("helix", path, known)
    assert error.detail == "30 problems, so nothing was imported; the first 20:"
    assert [field for field, _ in error.mistakes] == [f"many.csv:{line}: ms_per_layer" for line in range(2, 22)]
    assert all("must be" in detail for _, detail in error.mistakes)
    assert all(f"{field}: {detail}" in str(error) for field, detail in error.mistakes)


def test_a_line_number_counts_line_ends_inside_cells(tmp_path: Path, known: KnownNames) -> None:
    path = tmp_path / "lines.csv"
    path.write_text('model,gpu,phase,batch_tokens_or_requests,ms_per_layer\n"a\nb",t4,decode,1,1\nc,t4,decode,1,-1\n')
    assert refused("helix", path, known).field == "lines.csv:4: ms_per_layer"


def test_a_wrong_suffix_is_refused(sample: Sample, known: KnownNames) -> None:
    error = refused("helix", sample("melange.json"), known)
    assert "end in .csv, not .json" in error.detail
    assert error.fix is not None
    assert "melange" in error.fix


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, known: KnownNames) -> None:
    assert "no such file" in refused("helix", tmp_path / "none.csv", known).detail
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused("helix", tmp_path / "folder.csv", known).detail


def test_source_and_date_can_be_given(sample: Sample, known: KnownNames) -> None:
    batch = read("helix", sample("helix.csv"), known, source="our copy", as_of="2026-05-01").batch
    assert {(row.source, row.as_of.isoformat()) for row in batch.layer_measurements} == {("our copy", "2026-05-01")}


def test_an_option_that_a_format_does_not_take_is_refused(sample: Sample, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="takes no such option") as error:
        read("helix", sample("helix.csv"), known, gpu="H100")
    assert error.value.field == "--gpu"


def test_an_unknown_format_is_refused_with_suggestions(sample: Sample, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="did you mean helix"):
        read("helx", sample("helix.csv"), known)
