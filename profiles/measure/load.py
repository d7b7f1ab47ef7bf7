"""One point of load through GuideLLM, run as a program of its own: a closed loop of requests of one size.

Prompts are random short words, which are one token each in nearly every vocabulary; how many tokens they were is
what the server says. No tokenizer is needed, nothing is downloaded, and no two prompts share a prefix.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles.errors import InvalidInput
from profiles.measure import leash
from profiles.measure.target import Target

GRACE_S = 90.0
"""GuideLLM's own start and end, beyond the seconds that it sends requests for."""

_TEXT = """
the of and to in is it you that he was for on are with as his they be at one have this from or had by hot but
some what there we can out other were all your when up use word how said an each she which do their time if will
way about many then them would write like so these her long make thing see him two has look more day could go
"""


@dataclass(frozen=True)
class Load:
    """Requests of ``input_tokens`` words, ``output_tokens`` each, ``concurrency`` in flight at a time."""

    input_tokens: int
    output_tokens: int
    concurrency: int
    num_requests: int
    seconds: float


class LoadFailed(Exception):
    """A point that gave nothing to keep; the message says why."""


def version() -> str:
    """GuideLLM's version; ``InvalidInput`` where it is not installed."""
    if importlib.util.find_spec("guidellm") is None:
        raise InvalidInput("measuring an endpoint needs GuideLLM, which is not installed",
                           fix="pip install 'gpuplan[measure]'")  # fmt: skip
    return importlib.metadata.version("guidellm")


def run(load: Load, target: Target, folder: Path) -> Path:
    """Send ``load`` to ``target``; the path of GuideLLM's report, in ``folder``.

    Raises ``LoadFailed`` when GuideLLM fails, or is not done ``GRACE_S`` after its time.
    """
    scenario, report = folder / "scenario.json", folder / "report.json"
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in _prompts(load)), encoding="utf-8")
    scenario.write_text(json.dumps(_scenario(load, target, prompts, report)), encoding="utf-8")
    guidellm = [sys.executable, "-m", "guidellm", "run", "-c", str(scenario), "--disable-console"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603  a list of ours
            [sys.executable, leash.__file__, *guidellm],
            cwd=folder, env=_environment(target), stdin=subprocess.PIPE, stdout=said, stderr=said,
        )  # fmt: skip
        try:
            code = process.wait(load.seconds + GRACE_S)
        except subprocess.TimeoutExpired:
            raise LoadFailed(f"not done {GRACE_S:g} s after its time; ended") from None
        finally:
            if process.stdin:
                process.stdin.close()  # ends it, should it still run
            process.wait()
        if code or not report.exists():
            said.seek(0)
            raise LoadFailed(f"GuideLLM failed (exit code {code}): {_last_line(said.read(), target)}")
    return report


def _prompts(load: Load) -> list[dict[str, Any]]:
    rng = random.Random(f"{load}")  # noqa: S311  equal points send equal prompts
    words = _TEXT.split()
    sizes = {"prompt_tokens_count": load.input_tokens, "output_tokens_count": load.output_tokens}
    return [{"prompt": " ".join(rng.choices(words, k=load.input_tokens))} | sizes for _ in range(load.num_requests)]


def _scenario(load: Load, target: Target, prompts: Path, report: Path) -> dict[str, Any]:
    return {
        "spec": {
            "backend": {
                "kind": "openai_http", "target": target.base, "model": target.model,
                "validate_backend": False, "timeout": load.seconds,
            },
            "profile": {"kind": "concurrent", "streams": [load.concurrency]},
            "constraints": [
                {"kind": "max_requests", "count": load.num_requests},
                {"kind": "max_duration", "seconds": load.seconds},
            ],
            "data": [{"kind": "json_file", "path": str(prompts)}],
            "outputs": [{"kind": "json", "path": str(report)}],
            "metrics": {"kind": "generative", "sample_size": 0},
        }
    }  # fmt: skip


def _environment(target: Target) -> dict[str, str]:
    """Ours, without settings of GuideLLM that someone left there, and with the key: never in arguments or files."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GUIDELLM__")}
    environment |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    if target.api_key:
        environment["GUIDELLM__SPEC__BACKEND__API_KEY"] = target.api_key
    return environment


def _last_line(output: bytes, target: Target) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    return lines[-1].replace(target.api_key or "\0", "***")[:300]
