"""A Hugging Face ``config.json``: the shape of a model, and its parameter counts computed from that shape.

Reads dense and grouped-query transformers (Llama, Mistral, Qwen, Gemma, Bloom, ...), mixtures of experts (Mixtral,
Qwen3 MoE, Llama 4, gpt-oss, DeepSeek) and DeepSeek's latent attention. Counted: embeddings, attention, MLPs,
experts and routers; norms and biases are below 0.1%. Active parameters include the embeddings. ``--model`` names
the model where the file does not, ``--num-parameters`` and ``--num-active-parameters`` replace the computed counts.
"""

from __future__ import annotations

from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.document import Node, read_document
from profiles.ingest.files import modified_on
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.problems import build
from profiles.names import KnownNames
from profiles.types import Batch, ModelCard

NOT_TRANSFORMERS = ("mamba", "mamba2", "rwkv", "jamba", "zamba", "zamba2", "nemotron_h", "bamba", "falcon_mamba")
UNGATED = ("bloom", "gpt2", "gpt_neox", "opt", "falcon")
"""Model types whose MLP has two matrices; all others gate it with a third."""

SPELLINGS = {
    "num_layers": ("num_hidden_layers", "n_layer"),
    "hidden_size": ("hidden_size", "n_embed", "n_embd"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "num_experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "experts_per_token": ("num_experts_per_tok", "experts_per_token"),
    "max_context_tokens": ("max_position_embeddings", "seq_length", "n_positions"),
}


def read(path: Path, known: KnownNames, options: Options) -> Ingested:  # noqa: ARG001 - a new model need not be known
    """The model card of ``path``; raises ``InvalidInput`` for anything but the config of a transformer."""
    document = read_document(path, FORMAT.name)
    # Models that also see keep the language model's shape one level down.
    config = document / "text_config" if "text_config" in document else document
    kind = (config / "model_type").text() or (document / "model_type").text()
    if kind in NOT_TRANSFORMERS or "hybrid_override_pattern" in config:
        raise InvalidInput(
            f"{kind or 'a hybrid model'} is not a transformer with attention in every layer",
            field=(config / "model_type").where,
            fix="measure this model instead: gpuplan plans from measurements without a model card",
        )
    name = options.model or (document / "_name_or_path").text()
    if not name:
        name = options.required("model", "this config.json does not name the model")
    shape = _shape(config, kind)
    total, active = _parameters(config, kind, shape)
    card = build(
        ModelCard,
        {
            **shape,
            "name": name,
            "num_parameters": options.num_parameters or total,
            "num_active_parameters": options.num_active_parameters or min(active, options.num_parameters or active),
            "native_precision": _precision(document, config),
            "source": options.source or f"config.json of {name}; parameter counts computed from the shape",
            "as_of": options.as_of or modified_on(path),
        },
        {field: "/".join(spellings) for field, spellings in SPELLINGS.items()},
        path.name,
    )
    return Ingested(Batch(models=(card,)))


def _shape(config: Node, kind: str) -> dict[str, int]:
    layers, hidden, heads = (_needed(config, field) for field in ("num_layers", "hidden_size", "num_attention_heads"))
    experts = _whole(config, *SPELLINGS["num_experts"])
    intermediate = _whole(config, "intermediate_size_mlp", "intermediate_size", "ffn_dim") or 4 * hidden
    latent = _whole(config, "kv_lora_rank")
    if hidden % heads and not latent and not _whole(config, "head_dim"):
        raise InvalidInput(
            f"{heads} attention heads do not divide a hidden size of {hidden}",
            field=(config / "num_attention_heads").where,
            fix="correct one of them, or give head_dim",
        )  # fmt: skip
    window, windowed = _window(config, layers)
    return {
        "num_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_kv_heads": _whole(config, "num_key_value_heads") or heads,
        # With latent attention the heads of V are what attention writes; Q and K add the rope width.
        "head_dim": _whole(config, "v_head_dim") if latent else _whole(config, "head_dim") or hidden // heads,
        "intermediate_size": intermediate,
        "vocab_size": _needed(config, "vocab_size"),
        "num_experts": experts,
        "experts_per_token": _needed(config, "experts_per_token") if experts else 0,
        "num_shared_experts": _shared_experts(config, kind),
        "moe_intermediate_size": (_whole(config, "moe_intermediate_size", "intermediate_size")) if experts else 0,
        "num_dense_layers": _dense_layers(config, layers) if experts else 0,
        "kv_latent_dim": latent + _whole(config, "qk_rope_head_dim") if latent else 0,
        "sliding_window": window,
        "windowed_layers": windowed,
        "max_context_tokens": _needed(config, "max_context_tokens"),
    }


def _shared_experts(config: Node, kind: str) -> int:
    return 1 if kind.startswith("llama4") else _whole(config, "n_shared_experts", "num_shared_experts")


def _dense_layers(config: Node, layers: int) -> int:
    """Layers without experts: the leading ones, those listed, or all but every n-th."""
    step = _whole(config, "interleave_moe_layer_step", "decoder_sparse_step") or 1
    listed = len(list(config / "mlp_only_layers"))
    return _whole(config, "first_k_dense_replace") or listed or layers - layers // step


def _window(config: Node, layers: int) -> tuple[int, int]:
    """Tokens that a windowed layer sees, and how many layers are windowed."""
    window = _whole(config, "sliding_window", "attention_chunk_size")
    if not window or (config / "use_sliding_window").value is False:
        return 0, 0
    kinds = [kind.text() for kind in config / "layer_types"]
    if kinds:
        windowed = sum(kind != "full_attention" for kind in kinds)
    else:
        every = _whole(config, "sliding_window_pattern", "no_rope_layer_interval")
        windowed = layers - layers // every if every else layers
    return (window, windowed) if windowed else (0, 0)


def _parameters(config: Node, kind: str, shape: dict[str, int]) -> tuple[float, float]:
    """Total parameters, and those that one token uses."""
    hidden, layers, dense = shape["hidden_size"], shape["num_layers"], shape["num_dense_layers"]
    matrices = 2 if kind in UNGATED else 3
    tied = (config / "tie_word_embeddings").value is True or kind in ("bloom", "gemma3_text")
    always = shape["vocab_size"] * hidden * (1 if tied else 2) + layers * _attention(config, shape)
    mlp = matrices * hidden * shape["intermediate_size"]
    if not shape["num_experts"]:
        return float(always + layers * mlp), float(always + layers * mlp)
    sparse = layers - dense
    expert = matrices * hidden * shape["moe_intermediate_size"]
    router = hidden * shape["num_experts"]
    always += dense * mlp + sparse * (router + shape["num_shared_experts"] * expert)
    total = always + sparse * shape["num_experts"] * expert
    return float(total), float(always + sparse * shape["experts_per_token"] * expert)


def _attention(config: Node, shape: dict[str, int]) -> int:
    """Parameters of one layer's attention."""
    hidden, heads, width = shape["hidden_size"], shape["num_attention_heads"], shape["head_dim"]
    latent = _whole(config, "kv_lora_rank")
    if not latent:
        return 2 * hidden * heads * width + 2 * hidden * shape["num_kv_heads"] * width
    plain, rope, query = (_whole(config, key) for key in ("qk_nope_head_dim", "qk_rope_head_dim", "q_lora_rank"))
    into_heads = heads * (plain + rope)
    to_query = query * (hidden + into_heads) if query else hidden * into_heads
    return to_query + hidden * (latent + rope) + latent * heads * (plain + width) + heads * width * hidden


def _precision(document: Node, config: Node) -> str:
    quantisation = document / "quantization_config"
    method = (quantisation / "quant_method").text()
    if method:
        bits = _whole(quantisation, "bits", "weight_bits")
        return {
            "fp8": "fp8",
            "mxfp4": "fp4",
            "nvfp4": "fp4",
            "awq": "int4",
            "gptq": "int8" if bits == 8 else "int4",
        }.get(method, "unknown")
    stored = next(
        (text for node in (config, document) for key in ("torch_dtype", "dtype") if (text := (node / key).text())), ""
    )
    return stored if stored in ("bfloat16", "float16", "float32") else "unknown"


def _needed(config: Node, field: str) -> int:
    spellings = SPELLINGS.get(field, (field,))
    found = _whole(config, *spellings)
    if not found:
        raise InvalidInput("is missing", field=(config / spellings[0]).where, fix="give a transformer's config.json")
    return found


def _whole(config: Node, *spellings: str) -> int:
    """The first of ``spellings`` that is present, as a whole number; 0 when none is."""
    for key in spellings:
        value = (config / key).number()
        if value is not None:
            if not 0 <= value <= 1e9 or value != int(value):
                raise InvalidInput(f"must be a whole number up to a billion, not {value:g}", field=(config / key).where)
            return int(value)
    return 0


FORMAT = Format(
    name="hf-config",
    description="a Hugging Face config.json, as a model card: JSON",
    suffixes=(".json",),
    read=read,
    options=("model", "num_parameters", "num_active_parameters"),
)
