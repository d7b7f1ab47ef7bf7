"""What every JSON format does with a file that is not right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.errors import InvalidInput
from profiles.ingest import FORMATS, read
from profiles.names import KnownNames

OPTIONS: dict[str, dict[str, object]] = {
    "vllm-bench": {"gpu": "H100"},
    "guidellm": {"gpu": "H100"},
    "aiperf": {"gpu": "H100"},
    "melange": {"model": "llama2-70b", "input_tokens": "100,1000", "output_tokens": "10,100,500"},
    "aibrix": {},
    "hf-config": {"model": "Qwen/Qwen3-32B"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_sample_reads_and_every_fact_names_its_source(
    name: str, sample: Callable[[str], Path], known: KnownNames
) -> None:
    batch = read(name, sample(f"{name}.json"), known, **OPTIONS[name]).batch
    facts = [fact for kind in type(batch).model_fields for fact in getattr(batch, kind)]
    assert facts
    assert all(fact.source for fact in facts)


@pytest.mark.parametrize("name", [*OPTIONS, "gpuplan"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "looks like CSV"),
        (b'{"a": 1', "is not JSON"),
        (b"[1, 2]", "must be a JSON object, not a list"),
        (b'{"unrelated": 1}', ""),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"\0\0\0", "is binary"),
        (b'{"a":' * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_no_such_document_is_refused(
    name: str, content: bytes, said: str, tmp_path: Path, known: KnownNames
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        read(name, path, known, **OPTIONS.get(name, {}))
    assert said in error.value.detail
    assert error.value.field is not None
    assert error.value.field.startswith("file.json")


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("vllm-bench", "gpu"),
        ("guidellm", "gpu"),
        ("aiperf", "gpu"),
        ("melange", "model"),
        ("melange", "input_tokens"),
        ("melange", "output_tokens"),
        ("hf-config", "model"),
    ],
)
def test_a_missing_option_is_named_by_its_flag(
    name: str, needed: str, sample: Callable[[str], Path], known: KnownNames
) -> None:
    options = {option: value for option, value in OPTIONS[name].items() if option != needed}
    with pytest.raises(InvalidInput) as error:
        read(name, sample(f"{name}.json"), known, **options)
    assert error.value.field == "--" + needed.replace("_", "-")
    assert error.value.fix is not None
    assert error.value.fix.startswith(f"add {error.value.field} ")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"tp": "0"}, "--tp"),
        ({"tp": "two"}, "--tp"),
        ({"precision": "fp7"}, "--precision"),
        ({"as_of": "yesterday"}, "--as-of"),
        ({"gpu": "H1000"}, "--gpu"),
        ({"tp": 2, "ep": 4}, "--ep"),
    ],
)
def test_an_impossible_option_is_named_by_its_flag(
    options: dict[str, object], field: str, sample: Callable[[str], Path], known: KnownNames
) -> None:
    with pytest.raises(InvalidInput) as error:
        read("vllm-bench", sample("vllm-bench.json"), known, **{"gpu": "H100", **options})
    assert error.value.field == field


@pytest.mark.parametrize("bad", ["NaN", "-1", '"fast"', "true"])
def test_an_impossible_number_is_refused_where_it_stands(
    bad: str, edited: Callable[..., Path], known: KnownNames
) -> None:
    path = edited("vllm-bench.json", ('"mean_ttft_ms": 125.0', f'"mean_ttft_ms": {bad}'))
    with pytest.raises(InvalidInput) as error:
        read("vllm-bench", path, known, gpu="H100")
    assert error.value.field == "vllm-bench.json: mean_ttft_ms"


def test_every_format_is_tried() -> None:
    tables = {name for name, form in FORMATS.items() if form.columns}
    # Lines and plain text are no documents: test_gpuplan_journal.py and test_training.py try them.
    assert tables | set(OPTIONS) | {"gpuplan-journal", "nccl-tests"} == set(FORMATS)
