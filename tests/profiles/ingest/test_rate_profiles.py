"""Mélange's and AIBrix's matrices, in one orientation: rows are input tokens, columns output tokens."""

from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest import read
from profiles.names import KnownNames

Sample = Callable[[str], Path]
Edited = Callable[..., Path]
BUCKETS = {"input_tokens": "100,1000", "output_tokens": "10,100,500"}


def test_melange(sample: Sample, known: KnownNames) -> None:
    ingested = read("melange", sample("melange.json"), known, model="llama2-70b", **BUCKETS)
    l4, a100 = ingested.batch.rate_profiles
    assert (l4.gpu, l4.usd_per_hour, l4.model) == ("L4", 0.7, "meta-llama/Llama-2-70b-hf")
    assert (l4.input_tokens, l4.output_tokens) == ((100, 1000), (10, 100, 500))
    assert l4.requests_per_s == ((3, 2, 1), (2, 1, 0))
    assert (a100.gpu, a100.requests_per_s[1][2]) == ("A100-80GB", 3)
    assert "demand belongs to a serving spec" in ingested.notes[0]


def test_melange_says_when_a_matrix_only_fits_transposed(sample: Sample, known: KnownNames) -> None:
    swapped = {"input_tokens": BUCKETS["output_tokens"], "output_tokens": BUCKETS["input_tokens"]}
    with pytest.raises(InvalidInput, match="only fits transposed") as error:
        read("melange", sample("melange.json"), known, model="x", **swapped)
    assert error.value.field == "melange.json: gpu_info.L4.tputs"


@pytest.mark.parametrize("bounds", ["100,50", "0,5", "a,b", "100,,200"])
def test_melange_buckets_must_increase(bounds: str, sample: Sample, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="increasing whole numbers") as error:
        read("melange", sample("melange.json"), known, model="x", **{**BUCKETS, "input_tokens": bounds})
    assert error.value.field == "--input-tokens"


def test_melange_ragged_matrix(edited: Edited, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="rows of equally many numbers"):
        read("melange", edited("melange.json", ("[3, 2, 1]", "[3, 2]")), known, model="x", **BUCKETS)


def test_melange_unknown_gpu(edited: Edited, known: KnownNames) -> None:
    with pytest.raises(UnknownName) as error:
        read("melange", edited("melange.json", ('"L4"', '"L44"')), known, model="x", **BUCKETS)
    assert error.value.field == "melange.json: gpu_info.L44"


def test_aibrix_is_transposed(sample: Sample, known: KnownNames) -> None:
    ingested = read("aibrix", sample("aibrix.json"), known)
    (profile,) = ingested.batch.rate_profiles
    assert (profile.gpu, profile.model) == ("A100-80GB", "chat-llama2-7b")
    assert (profile.input_tokens, profile.output_tokens) == ((128, 512, 2048), (4, 512))
    assert profile.requests_per_s == ((60, 8), (30, 4), (15, 0))
    assert (profile.slo, profile.usd_per_hour) == ("p99 e2e ≤ 5 s", 3.5)
    assert "--model and --gpu say otherwise" in ingested.notes[0]


def test_aibrix_options_win_over_the_name(sample: Sample, known: KnownNames) -> None:
    ingested = read("aibrix", sample("aibrix.json"), known, gpu="a40", model="llama2-70b")
    (profile,) = ingested.batch.rate_profiles
    assert (profile.gpu, profile.model, ingested.notes) == ("A40", "meta-llama/Llama-2-70b-hf", ())


def test_aibrix_without_a_gpu_in_its_name(edited: Edited, known: KnownNames) -> None:
    with pytest.raises(UnknownName) as error:
        read("aibrix", edited("aibrix.json", ("chat-llama2-7b-a100-80gb", "chat")), known)
    assert error.value.fix is not None
    assert "--gpu" in error.value.fix


def test_aibrix_matrix_that_follows_the_input_ticks(edited: Edited, known: KnownNames) -> None:
    path = edited("aibrix.json", ("[[60, 30, 15], [8, 4, 0]]", "[[60, 8], [30, 4], [15, 0]]"))
    with pytest.raises(InvalidInput, match="only fits transposed"):
        read("aibrix", path, known)
