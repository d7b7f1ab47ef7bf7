"""Model cards from config.json: the shape as in the catalogue, and parameter counts within 2% of the published ones."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.errors import InvalidInput
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.types import ModelCard


def llama(**changes: object) -> dict[str, object]:
    return {"model_type": "llama", "vocab_size": 128256, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
            "num_key_value_heads": 8, "tie_word_embeddings": False, **changes}  # fmt: skip


def qwen3(**changes: object) -> dict[str, object]:
    return {"model_type": "qwen3", "vocab_size": 151936, "max_position_embeddings": 40960, "torch_dtype": "bfloat16",
            "head_dim": 128, "num_key_value_heads": 8, "sliding_window": None, "use_sliding_window": False,
            "tie_word_embeddings": False, **changes}  # fmt: skip


def gpt_oss(layers: int, experts: int) -> dict[str, object]:
    return {"model_type": "gpt_oss", "vocab_size": 201088, "max_position_embeddings": 131072, "hidden_size": 2880,
            "num_hidden_layers": layers, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
            "intermediate_size": 2880, "num_local_experts": experts, "num_experts_per_tok": 4, "experts_per_token": 4,
            "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
            "quantization_config": {"quant_method": "mxfp4"}}  # fmt: skip


def llama4(experts: int, every: int, context: int) -> dict[str, object]:
    text = {"model_type": "llama4_text", "vocab_size": 202048, "hidden_size": 5120, "num_hidden_layers": 48,
            "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 8192,
            "intermediate_size_mlp": 16384, "num_local_experts": experts, "num_experts_per_tok": 1,
            "interleave_moe_layer_step": every, "attention_chunk_size": 8192, "no_rope_layer_interval": 4,
            "max_position_embeddings": context, "torch_dtype": "bfloat16"}  # fmt: skip
    return {"model_type": "llama4", "text_config": text, "vision_config": {"hidden_size": 1408}}


DEEPSEEK = {
    "model_type": "deepseek_v3", "vocab_size": 129280, "max_position_embeddings": 163840, "hidden_size": 7168,
    "intermediate_size": 18432, "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1, "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3, "moe_layer_freq": 1, "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8"},
}  # fmt: skip

QWEN3_MOE = {"decoder_sparse_step": 1, "mlp_only_layers": [], "num_experts": 128, "num_experts_per_tok": 8}

CONFIGS: dict[str, dict[str, object]] = {
    "meta-llama/Llama-3.1-8B-Instruct": llama(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=14336
    ),
    "meta-llama/Llama-3.1-70B-Instruct": llama(
        hidden_size=8192, num_hidden_layers=80, num_attention_heads=64, intermediate_size=28672
    ),
    "meta-llama/Llama-3.1-405B-Instruct": llama(
        hidden_size=16384, num_hidden_layers=126, num_attention_heads=128, intermediate_size=53248
    ),
    "meta-llama/Llama-2-70b-hf": llama(
        hidden_size=8192, num_hidden_layers=80, num_attention_heads=64, intermediate_size=28672, vocab_size=32000,
        max_position_embeddings=4096, torch_dtype="float16",
    ),
    "huggyllama/llama-30b": llama(
        hidden_size=6656, num_hidden_layers=60, num_attention_heads=52, num_key_value_heads=None,
        intermediate_size=17920, vocab_size=32000, max_position_embeddings=2048, torch_dtype="float16",
    ),
    "bigscience/bloom": {
        "model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112, "vocab_size": 250880,
        "seq_length": 2048, "torch_dtype": "bfloat16",
    },
    "Qwen/Qwen3-8B": qwen3(hidden_size=4096, num_hidden_layers=36, num_attention_heads=32, intermediate_size=12288),
    "Qwen/Qwen3-14B": qwen3(hidden_size=5120, num_hidden_layers=40, num_attention_heads=40, intermediate_size=17408),
    "Qwen/Qwen3-32B": qwen3(hidden_size=5120, num_hidden_layers=64, num_attention_heads=64, intermediate_size=25600),
    "Qwen/Qwen3-30B-A3B": qwen3(
        model_type="qwen3_moe", hidden_size=2048, num_hidden_layers=48, num_attention_heads=32, num_key_value_heads=4,
        intermediate_size=6144, moe_intermediate_size=768, **QWEN3_MOE,
    ),
    "Qwen/Qwen3-235B-A22B": qwen3(
        model_type="qwen3_moe", hidden_size=4096, num_hidden_layers=94, num_attention_heads=64, num_key_value_heads=4,
        intermediate_size=12288, moe_intermediate_size=1536, **QWEN3_MOE,
    ),
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": qwen3(
        model_type="qwen3_moe", hidden_size=6144, num_hidden_layers=62, num_attention_heads=96, num_key_value_heads=8,
        intermediate_size=8192, moe_intermediate_size=2560, max_position_embeddings=262144,
        **{**QWEN3_MOE, "num_experts": 160},
    ),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": {
        "model_type": "mixtral", "vocab_size": 32000, "max_position_embeddings": 32768, "hidden_size": 4096,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
        "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None, "torch_dtype": "bfloat16",
    },
    "deepseek-ai/DeepSeek-V3": DEEPSEEK,
    "deepseek-ai/DeepSeek-R1": DEEPSEEK,
    "openai/gpt-oss-20b": gpt_oss(24, 32),
    "openai/gpt-oss-120b": gpt_oss(36, 128),
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": llama4(16, 1, 10_000_000),
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": llama4(128, 2, 1_048_576),
    "google/gemma-3-12b-it": {"model_type": "gemma3", "text_config": {
        "model_type": "gemma3_text", "vocab_size": 262208, "max_position_embeddings": 131072, "hidden_size": 3840,
        "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
        "intermediate_size": 15360, "sliding_window": 1024, "sliding_window_pattern": 6, "torch_dtype": "bfloat16",
    }},
}  # fmt: skip

SHAPE = set(ModelCard.model_fields) - {
    "name", "aliases", "source", "as_of", "num_parameters", "num_active_parameters",
}  # fmt: skip


def card(config: dict[str, object], folder: Path, known: KnownNames, **options: object) -> ModelCard:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    (model,) = read("hf-config", path, known, **options).batch.models
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_the_shape_is_that_of_the_catalogue(name: str, tmp_path: Path, known: KnownNames) -> None:
    published = known.models[name.lower()]
    computed = card(CONFIGS[name], tmp_path, known, model=name)
    assert computed.model_dump(include=SHAPE) == published.model_dump(include=SHAPE)
    assert computed.num_parameters == pytest.approx(published.num_parameters, rel=0.02)
    # gpt-oss publishes active parameters without the input embeddings, which every other count includes.
    embeddings = computed.vocab_size * computed.hidden_size if "gpt-oss" in name else 0
    assert computed.num_active_parameters - embeddings == pytest.approx(published.num_active_parameters, rel=0.02)


def test_given_counts_replace_the_computed_ones(tmp_path: Path, known: KnownNames) -> None:
    model = card(DEEPSEEK, tmp_path, known, model="m", num_parameters="685e9", num_active_parameters="37e9")
    assert (model.num_parameters, model.num_active_parameters) == (685e9, 37e9)


@pytest.mark.parametrize(
    ("quantisation", "precision"),
    [
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "of tomorrow"}, "unknown"),
    ],
)
def test_precision_of_quantised_copies(
    quantisation: dict[str, object], precision: str, tmp_path: Path, known: KnownNames
) -> None:
    config = {**CONFIGS["Qwen/Qwen3-8B"], "quantization_config": quantisation}
    assert card(config, tmp_path, known, model="m").native_precision == precision


def test_a_file_that_names_its_model_needs_no_option(tmp_path: Path, known: KnownNames) -> None:
    assert card({**CONFIGS["Qwen/Qwen3-8B"], "_name_or_path": "acme/qwen"}, tmp_path, known).name == "acme/qwen"


def test_what_is_no_transformer_is_refused(tmp_path: Path, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="mamba2 is not a transformer"):
        card({"model_type": "mamba2"}, tmp_path, known, model="m")


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_missing_dimension_is_named(field: str, tmp_path: Path, known: KnownNames) -> None:
    config = {key: value for key, value in CONFIGS["Qwen/Qwen3-8B"].items() if key != field}
    with pytest.raises(InvalidInput) as error:
        card(config, tmp_path, known, model="m")
    assert error.value.field == f"config.json: {field}"


@pytest.mark.parametrize("bad", [-4, 0.5, "many"])
def test_an_impossible_dimension_is_refused(bad: object, tmp_path: Path, known: KnownNames) -> None:
    with pytest.raises(InvalidInput) as error:
        card({**CONFIGS["Qwen/Qwen3-8B"], "hidden_size": bad}, tmp_path, known, model="m")
    assert error.value.field == "config.json: hidden_size"


def test_the_sample(sample: Callable[[str], Path], known: KnownNames) -> None:
    (model,) = read("hf-config", sample("hf-config.json"), known, model="mine/qwen").batch.models
    assert (model.name, model.num_parameters) == ("mine/qwen", pytest.approx(32.76e9, rel=0.001))
