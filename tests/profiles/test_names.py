import pytest

from profiles import catalogue
from profiles.errors import UnknownName
from profiles.names import KnownNames
from profiles.types import Batch

KNOWN = KnownNames.of(catalogue.load())


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("H100", "H100"),
        ("h100_sxm", "H100"),
        ("  h100 sxm ", "H100"),
        ("h100-80gb", "H100"),
        ("NVIDIA-H100-80GB-HBM3", "H100"),
        ("h200_sxm", "H200"),
        ("b200_sxm", "B200"),
        ("gb200", "GB200"),
        ("a100-80gb", "A100-80GB"),
        ("NVIDIA-A100-SXM4-80GB", "A100-80GB"),
        ("a100", "A100-40GB"),
    ],
)
def test_a_gpu_is_known_under_every_spelling(spelling: str, name: str) -> None:
    assert KNOWN.gpu(spelling) == name


def test_an_unknown_gpu_is_refused_with_the_closest_names() -> None:
    with pytest.raises(UnknownName, match="did you mean") as refused:
        KNOWN.gpu("h10", "file.csv:2: gpu")
    assert "H100" in refused.value.suggestions
    assert refused.value.field == "file.csv:2: gpu"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct"),
        ("LLAMA-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "meta-llama/Llama-3.1-405B-Instruct"),
        ("llama2-70b", "meta-llama/Llama-2-70b-hf"),
        ("llama1_30b", "huggyllama/llama-30b"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/DeepSeek-R1"),
    ],
)
def test_a_model_is_known_under_its_aliases(spelling: str, name: str) -> None:
    assert KNOWN.model(spelling) == name


def test_an_unknown_model_keeps_its_name() -> None:
    assert KNOWN.model(" acme/tiny-1b ") == "acme/tiny-1b"
    assert KNOWN.model_card("acme/tiny-1b") is None


def test_a_name_wins_over_another_facts_alias() -> None:
    h100, h200 = (KNOWN.gpu_type(name) for name in ("H100", "H200"))
    thief = h100.model_copy(update={"aliases": ("H200",)})
    assert KnownNames.of(Batch(gpus=(thief, h200))).gpu("h200") == "H200"
