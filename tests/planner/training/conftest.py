"""Facts of the catalogue, and small specs to plan from."""

import pytest

from planner.training.spec import TrainingSpec
from profiles import catalogue
from profiles.types import Facts

SMALL = {
    "model": "tiny",
    "shape": {"num_layers": 8, "hidden_size": 1024, "num_attention_heads": 8, "vocab_size": 32_000},
    "sequence_length": 1024,
    "global_batch": 32,
    "tokens": 1e9,
    "cluster": {"groups": [{"name": "a", "gpu": "A100-80GB", "nodes": 2, "gpus_per_node": 4}]},
}


@pytest.fixture(scope="session")
def facts():
    built_in = catalogue.load()
    return Facts(**{name: getattr(built_in, name) for name in type(built_in).model_fields}, digest="catalogue")


@pytest.fixture
def small():
    def made(**changes):
        return TrainingSpec.model_validate({**SMALL, **changes})

    return made
