"""A file with several mistakes: the command line tells each, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from planner.cli import app


def test_every_mistake_is_told(tmp_path: Path) -> None:
    database = ["--database", f"sqlite:///{tmp_path}/store.db"]
    assert CliRunner().invoke(app, ["init", *database]).exit_code == 0
    file = tmp_path / "layers.csv"
    rows = "".join(f"llama2_70b,t4,decode,{size},-1\n" for size in (1, 2))
    file.write_text(f"model,gpu,phase,batch_tokens_or_requests,ms_per_layer\n{rows}")
    command = ["profiles", "import", "helix", str(file), *database]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 2
    assert "2 problems, so nothing was imported" in told.stderr
    assert all(f"layers.csv:{line}: ms_per_layer: must be" in told.stderr for line in (2, 3))
    problem = json.loads(CliRunner().invoke(app, [*command, "--json"]).stderr)
    assert [one["field"] for one in problem["errors"]] == [f"layers.csv:{line}: ms_per_layer" for line in (2, 3)]
    assert all("must be" in one["detail"] for one in problem["errors"])
