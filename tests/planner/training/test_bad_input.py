"""What people get wrong in training specs, and what they are told."""

import json

import pytest

from planner.errors import InvalidInput
from planner.training.load import load
from tests.planner.training.conftest import SMALL

GROUP = {"name": "a", "gpu": "A100-80GB", "nodes": 2, "gpus_per_node": 4}
SHAPE = SMALL["shape"]


def written(tmp_path, **changes):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**SMALL, **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tokens": 0}, "tokens"),
        ({"tokens": 10}, "less than one sequence"),
        ({"tokens": 1e30}, "tokens"),
        ({"global_batch": 0}, "global_batch"),
        ({"sequence_length": -5}, "sequence_length"),
        ({"shape": {**SHAPE, "num_attention_heads": 7}}, "do not divide hidden_size"),
        ({"shape": {**SHAPE, "num_kv_heads": 3}}, "KV heads do not divide"),
        ({"shape": {k: v for k, v in SHAPE.items() if k != "vocab_size"}}, "vocab_size: is missing"),
        ({"shape": {**SHAPE, "num_experts": 8}}, "experts_per_token"),
        ({"shape": {**SHAPE, "num_experts": 8, "experts_per_token": 2}}, "moe_intermediate_size: is missing"),
        ({"shape": {**SHAPE, "moe_intermediate_size": 64}}, "num_experts: is missing"),
        ({"cluster": {"groups": []}}, "groups"),
        ({"cluster": {"groups": [{**GROUP, "nodes": 0}]}}, "nodes"),
        ({"cluster": {"groups": [{**GROUP, "usd_per_gpu_hour": -1}]}}, "usd_per_gpu_hour"),
        ({"cluster": {"groups": [{**GROUP, "usd_per_gpu_hour": 1e12}]}}, "usd_per_gpu_hour"),
        ({"cluster": {"groups": [GROUP, GROUP]}}, "appears twice"),
        ({"cluster": {"groups": [{**GROUP, "hosts": ["n1"]}]}}, "1 names for 2 nodes"),
        ({"cluster": {"groups": [{**GROUP, "hosts": ["n1", "n1"]}]}}, "appears twice"),
        ({"cluster": {"groups": [GROUP], "gb_per_s": [[1, 2, 3], [1, 2, 3]]}}, "2 rows of 3 numbers for 2 nodes"),
        ({"cluster": {"groups": [GROUP], "gb_per_s": [[1, 0], [2, 1]]}}, r"gb_per_s\[0\]\[1\] is 0"),
        ({"cluster": {"groups": [GROUP], "gb_per_s": [[1, 2], [-3, 1]]}}, r"gb_per_s\[1\]\[0\] is -3"),
        ({"cluster": {"groups": [{**GROUP, "nvme_gib": 100}]}}, "give both, or neither"),
        ({"choices": {"tensor_parallel": [0]}}, "tensor_parallel"),
        ({"choices": {"frameworks": []}}, "frameworks"),
        ({"choices": {"recompute": ["some"]}}, "recompute"),
        ({"deadline_days": 0}, "deadline_days"),
        ({"failures": {"mtbf_gpu_hours": 0}}, "mtbf_gpu_hours"),
        ({"objective": "fun"}, "objective"),
        ({"modell": "x"}, "did you mean 'model'"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, told):
    with pytest.raises(InvalidInput, match=told):
        load(written(tmp_path, **changes), {})


def test_infinite_numbers_are_no_numbers(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**SMALL, "tokens": 1}).replace('"tokens": 1', '"tokens": Infinity'))
    with pytest.raises(InvalidInput, match="Infinity"):
        load(path, {})


def test_a_matrix_from_a_file(tmp_path):
    (tmp_path / "links.csv").write_text("0,10\n12,0\n")
    spec = load(written(tmp_path, cluster={"groups": [GROUP], "gb_per_s": "links.csv"}), {})
    assert spec.cluster.node_gb_per_s()[1, 0] == 12
    (tmp_path / "links.csv").write_text("a,b\n0,10\n12,0\n")
    with pytest.raises(InvalidInput, match=r"links.csv:1"):
        load(written(tmp_path, cluster={"groups": [GROUP], "gb_per_s": "links.csv"}), {})
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(written(tmp_path, cluster={"groups": [GROUP], "gb_per_s": "nowhere.csv"}), {})
    (tmp_path / "links.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="not a text file"):
        load(written(tmp_path, cluster={"groups": [GROUP], "gb_per_s": "links.csv"}), {})


CONFIG = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 8192,
}  # fmt: skip


def test_a_model_from_its_config(tmp_path):
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    document = {k: v for k, v in SMALL.items() if k != "shape"} | {"model": "llama/config.json"}
    (tmp_path / "spec.json").write_text(json.dumps(document))
    spec = load(tmp_path / "spec.json", {})
    assert spec.model == "llama"
    assert spec.shape.num_kv_heads == 8
    assert spec.shape.gated_mlp
    with pytest.raises(InvalidInput, match="leave one of them out"):
        load(written(tmp_path, model="llama/config.json"), {})


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"num_attention_heads": None}, "num_attention_heads"), ({"num_key_value_heads": 7}, "KV heads"),
     ({"model_type": "mamba"}, "not a transformer")],
)  # fmt: skip
def test_a_config_with_mistakes(tmp_path, changes, told):
    config = {k: v for k, v in {**CONFIG, **changes}.items() if v is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    document = {k: v for k, v in SMALL.items() if k != "shape"} | {"model": "config.json"}
    (tmp_path / "spec.json").write_text(json.dumps(document))
    with pytest.raises(InvalidInput, match=told):
        load(tmp_path / "spec.json", {})


def test_one_spec_at_a_time(tmp_path):
    path = written(tmp_path)
    with pytest.raises(InvalidInput, match="one spec"):
        load([path, path], {})
