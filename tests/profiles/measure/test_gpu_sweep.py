"""Measuring a GPU: refusals everywhere, and on the CPU what can be tried where torch is installed."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from profiles import catalogue
from profiles.errors import InvalidInput
from profiles.measure import journal
from profiles.measure.gpu_sweep import Sweep, main, run

ROOT = Path(__file__).parents[3]
CARD: dict[str, Any] = {
    "name": "tiny", "num_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_kv_heads": 2, "head_dim": 16,
    "intermediate_size": 128, "vocab_size": 100,
}  # fmt: skip
MIXTURE = CARD | {
    "num_experts": 4, "experts_per_token": 2, "num_shared_experts": 1, "moe_intermediate_size": 32,
    "num_dense_layers": 1,
}  # fmt: skip

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed (pip install 'gpuplan[gpu]')"
)


def quiet(line: str) -> None:
    """Told of progress, says nothing."""


def bare(*arguments: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The sweep as on a bare machine: no module may be imported but the standard library's, torch's, and ours."""
    blocker = (
        "import sys, importlib.abc\n"
        "class Blocker(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {without!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from profiles.measure.gpu_sweep import main\n"
        "code = main(sys.argv[1:])\n"
        "sys.exit(code)"
    )
    return subprocess.run([sys.executable, "-c", blocker, *arguments], capture_output=True, text=True, cwd=ROOT)


OURS = ("pydantic", "sqlalchemy", "typer", "rich", "pandas", "scipy", "yaml", "alembic", "highspy", "ortools")


def test_without_torch_one_sentence_names_the_extra(tmp_path: Path) -> None:
    result = bare("gemm", "--out", str(tmp_path / "x.jsonl"), without=(*OURS, "numpy", "torch"))
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "measuring a GPU needs torch, which is not installed", "  fix: pip install 'gpuplan[gpu]'",
    ]  # fmt: skip
    assert not (tmp_path / "x.jsonl").exists()


@needs_torch
def test_without_a_gpu_one_sentence_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert main(["gemm", "--out", str(tmp_path / "x.jsonl")]) == 2
    assert capsys.readouterr().err.startswith("--device: there is no CUDA GPU here")
    assert not (tmp_path / "x.jsonl").exists()


@needs_torch
def test_a_bare_machine_needs_torch_and_nothing_of_ours(tmp_path: Path) -> None:
    out = tmp_path / "gemm.jsonl"
    command = ("gemm", "--device", "cpu", "--shapes", "2", "--largest", "64", "--out", str(out))
    result = bare(*command, without=OURS)
    assert (result.returncode, result.stdout) == (0, f"{out}: 0 points before, 4 now, 0 with problems\n"), result.stderr
    again = bare(*command, without=OURS)
    assert again.stdout == f"{out}: 4 points before, 0 now, 0 with problems\n"
    model = "meta-llama/Llama-3.1-8B"
    result = bare("decoder", "--device", "cpu", "--model", model, "--out", str(out), without=OURS)
    assert (result.returncode, "GiB for weights" in result.stderr) == (2, True)


@needs_torch
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"device": "tpu:0"}, "--device"), ({"device": "mps"}, "--device"), ({"num_shapes": 0}, "--shapes"),
        ({"largest": 63}, "--largest"), ({"precisions": ("fp8",)}, "--precision"), ({"kind": "decoder"}, "--model"),
        ({"kind": "decoder", "card": CARD, "batches": (0,)}, "--batch"),
        ({"kind": "decoder", "card": CARD, "contexts": (-5,)}, "--context"),
        ({"kind": "decoder", "card": CARD, "precisions": ("bf16", "fp32")}, "--precision"),
        ({"kind": "decoder", "card": CARD, "precisions": ("fp8",)}, "--precision"),
        ({"kind": "decoder", "card": CARD | {"kv_latent_dim": 576}}, "model tiny"),
        ({"kind": "decoder", "card": CARD | {"num_kv_heads": 3}}, "model tiny"),
        ({"kind": "bandwidth", "largest_gib": 0.0}, "--largest-gib"),
    ],
)  # fmt: skip
def test_sweeps_that_cannot_be_meant(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        run(Sweep(**{"kind": "gemm", "device": "cpu"} | changes), tmp_path / "x.jsonl", quiet)
    assert error.value.field == field
    assert not (tmp_path / "x.jsonl").exists()


@needs_torch
def test_gemm_shapes_are_different_within_bounds_and_repeat_by_seed() -> None:
    from profiles.measure import gemm

    drawn = list(gemm.shapes(500, 2048, seed=3))
    assert len(set(drawn)) == 500
    assert all(1 <= m <= 2048 and 16 <= n <= 2048 and 16 <= k <= 2048 for m, n, k in drawn)
    assert min(m for m, _, _ in drawn) < 8
    assert any(n % 64 for _, n, _ in drawn)
    assert drawn == list(gemm.shapes(500, 2048, seed=3))
    assert drawn != list(gemm.shapes(500, 2048, seed=4))
    assert len(list(gemm.shapes(10_000, 64))) < 10_000  # as many as there are, not for ever


@needs_torch
def test_larger_products_and_buffers_take_longer(tmp_path: Path) -> None:
    from profiles.measure import bandwidth, gemm
    from profiles.measure.stopwatch import stopwatch

    watch = stopwatch("cpu")
    small, large = (gemm.measure({"m": size, "n": size, "k": size, "precision": "fp32"}, watch) for size in (32, 512))
    assert small["time_us"] < large["time_us"]
    assert small["time_us"] <= small["time_p90_us"]
    assert "mean_power_w" not in small
    little, much = (bandwidth.measure({"access": "copy", "num_bytes": 2**e}, watch) for e in (16, 26))
    assert little["time_us"] < much["time_us"]


@needs_torch
def test_what_does_not_fit_is_a_problem_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from profiles.measure.stopwatch import CpuStopwatch

    monkeypatch.setattr(CpuStopwatch, "free_bytes", lambda self: 200_000)
    outcome = run(Sweep("gemm", "cpu", ("fp32",), 20, 256), tmp_path / "x.jsonl", quiet)
    assert outcome.num_measured > 0
    assert outcome.problems
    assert all("GiB" in problem for problem in outcome.problems)
    lines = journal.read(tmp_path / "x.jsonl")[1:]
    assert sum("problem" in line for line in lines) == len(outcome.problems)
    monkeypatch.undo()
    again = run(Sweep("gemm", "cpu", ("fp32",), 20, 256), tmp_path / "x.jsonl", quiet)
    assert (again.num_measured, again.problems) == (len(outcome.problems), ())


@needs_torch
@pytest.mark.parametrize("card", [CARD, MIXTURE], ids=["dense", "mixture"])
def test_a_decoder_is_measured_in_both_phases(tmp_path: Path, card: dict[str, Any]) -> None:
    sweep = Sweep("decoder", "cpu", ("fp32",), batches=(1, 4), contexts=(8, 16), card=card)
    assert run(sweep, tmp_path / "x.jsonl", quiet).problems == ()
    lines = journal.read(tmp_path / "x.jsonl")[1:]
    assert [tuple(line["point"].values()) for line in lines] == [
        (phase, batch, context) for context in (8, 16) for batch in (1, 4) for phase in ("prefill", "decode")
    ]
    assert all(math.isfinite(line["result"]["time_us"]) for line in lines)


@needs_torch
def test_a_decoder_attends_causally_and_to_its_cache() -> None:
    import torch

    from profiles.measure.decoder import Decoder, Shape
    from profiles.measure.stopwatch import stopwatch

    decoder = Decoder(Shape.of(CARD), "fp32", stopwatch("cpu"))
    torch.manual_seed(0)
    x = torch.randn(2, 5, 64)
    whole = decoder._attention(0, x, None)
    cache = torch.zeros(2, 2, 2, 5, 16)
    heads = torch.nn.functional.linear(x, decoder._qkv[0]).view(2, 5, 8, 16).transpose(1, 2)
    cache[0], cache[1] = heads[:, 4:6], heads[:, 6:8]
    # The last token decoded over the cache of all five is the last of the prefill.
    torch.testing.assert_close(decoder._attention(0, x[:, -1:], cache), whole[:, -1:])


@needs_torch
def test_a_mixture_is_the_sum_of_its_chosen_and_shared_experts() -> None:
    import torch

    from profiles.measure.decoder import Decoder, Shape, _swiglu
    from profiles.measure.stopwatch import stopwatch

    decoder = Decoder(Shape.of(MIXTURE), "fp32", stopwatch("cpu"))
    router, experts, shared = decoder._mlps[1]
    assert router is not None
    x = torch.randn(3, 2, 64)
    expected = torch.zeros_like(x)
    for request in range(3):
        for place in range(2):
            token = x[request, place]
            gates, chosen = torch.softmax(router @ token, dim=-1).topk(2)
            expected[request, place] = _swiglu(token, *shared[0]) + sum(
                gate * _swiglu(token, *experts[int(which)]) for gate, which in zip(gates, chosen, strict=True)
            )
    torch.testing.assert_close(decoder._mlp(1, x), expected)
    assert decoder._mlps[0][0] is None  # the leading dense layer


@needs_torch
@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-32B"])
def test_weights_counted_are_those_of_the_model(name: str) -> None:
    from profiles.measure.decoder import Shape

    card = next(card for card in catalogue.load().models if card.name == name)
    shape = Shape.of(json.loads(card.model_dump_json()))
    assert shape == Shape.named(name.upper())
    # All but the input embedding, norms and biases.
    embedding = card.vocab_size * card.hidden_size
    assert shape.weights() == pytest.approx(card.num_parameters - embedding, rel=0.01)
