"""What the command line says before anything is planned: help with examples, suggestions, completion."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from planner import completion
from planner.cli import app
from planner.command import initialise_store

ROOT = Path(__file__).parents[2]


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def said(*words: str, **environment: str) -> str:
    """Everything that a call prints."""
    return CliRunner().invoke(app, list(words), env=environment).output


def in_one_line(text: str) -> str:
    """What a box on a terminal says, without its frame."""
    return " ".join(text.replace("│", " ").split())


def examples(command: Any) -> list[str]:
    """The example calls in a command's help, from `Example:` to the end of the paragraph."""
    paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
    found = [p.partition(":")[2] for p in paragraphs if p.startswith(("Example:", "Examples:"))]
    return [" ".join(call.split()) for text in found for call in text.split("·")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_that_parses(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    shown = examples(command)
    assert shown, "its docstring has no Example"
    for example in shown:
        program, *rest = shlex.split(example)
        assert program == "gpuplan"
        assert tuple(rest[: len(words)]) == words
        command.make_context(" ".join(words), rest[len(words) :])  # raises where an option or argument does not exist
        for file in re.findall(r"examples/\S+\.yaml", example):
            assert (ROOT / file).exists()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is(words: tuple[str, ...]) -> None:
    assert [parameter.name for parameter in COMMANDS[words].params if not parameter.help] == []


def test_help_lists_every_command_and_plans_first() -> None:
    shown = said("--help")
    tops = dict.fromkeys(words[0] for words in COMMANDS)
    assert all(re.search(rf"│ {name} ", shown) for name in tops)
    assert shown.index("│ plan ") < min(shown.index(f"│ {name} ") for name in tops if name != "plan")


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (("plna", "serving"), "plan"), (("plan", "servin"), "serving"), (("doctr",), "doctor"),
        (("profiles", "lst"), "list"), (("plan", "serving", "x.yaml", "--trce", "y"), "--trace"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_guessed(words: tuple[str, ...], suggestion: str) -> None:
    assert suggestion in in_one_line(said(*words))


def test_a_spec_before_its_kind() -> None:
    assert "comes first: gpuplan plan power row.yaml" in in_one_line(said("plan", "row.yaml", "power"))
    assert "comes first: gpuplan plan KIND row.yaml" in in_one_line(said("plan", "row.yaml"))


def test_a_file_that_is_not_there_is_looked_for(tmp_path: Path, sqlite_url: str) -> None:
    initialise_store(sqlite_url)[0].dispose()
    (tmp_path / "chat.yaml").write_text("kind: serving")
    (tmp_path / "plan.json").write_text("{}")
    asked = (
        ("plan", "serving", "chta.yaml", "--database", sqlite_url), ("workload", "cha.yaml"),
        ("plan", "power", "char.yaml", "--database", sqlite_url), ("check", "plans.json"),
        ("compare", "plam.json", "x"),
    )  # fmt: skip
    for words in asked:
        call = [str(tmp_path / word) if word.endswith(("yaml", "json")) else word for word in words]
        assert re.search(r"did you mean \S+/(chat\.yaml|plan\.json)\?", said(*call)), words
    assert "check the path" in said("check", str(tmp_path / "nothing-like-it.txt"))


def test_a_store_that_is_not_there_names_the_command_that_makes_it(tmp_path: Path) -> None:
    assert "gpuplan init" in said("profiles", "list", "--database", f"sqlite:///{tmp_path}/none.db")


def completed(line: str, **environment: str) -> list[str]:
    """What the shell is offered for the last word of ``line``."""
    words = {"_GPUPLAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return CliRunner().invoke(app, [], prog_name="gpuplan", env={**words, **environment}).stdout.split()


def test_the_shell_completes_commands_kinds_formats_and_targets() -> None:
    assert completed("gpuplan pl") == ["plan"]
    assert completed("gpuplan plan ") == ["serving", "experts", "training", "power"]
    assert completed("gpuplan sweep s") == ["serving", "simulation"]
    assert completed("gpuplan validate p") == ["power"]
    assert completed("gpuplan profiles import v") == ["vllm-bench"]
    assert completed("gpuplan profiles list gp") == ["gpus"]
    assert {"kubernetes", "slurm"} <= set(completed("gpuplan render plan.json --target "))
    assert completed("gpuplan apply plan.json --target k") == ["kubernetes"]
    assert "--time-limit" in completed("gpuplan plan serving --")


def test_the_shell_completes_what_the_store_knows(tmp_path: Path, sqlite_url: str) -> None:
    initialise_store(sqlite_url)[0].dispose()
    spec = ROOT / "examples/shared_nodes.yaml"
    assert CliRunner().invoke(app, ["plan", "serving", str(spec), "--database", sqlite_url]).exit_code == 0
    store = {"GPUPLAN_DATABASE_URL": sqlite_url}
    (plan_id,) = completed("gpuplan compare ", **store)
    assert completed(f"gpuplan apply {plan_id[:4]}", **store) == [plan_id]
    assert "H100" in completed("gpuplan profiles show H", **store)
    same = CliRunner().invoke(app, ["compare", plan_id, plan_id, "--database", sqlite_url])
    assert "the same serving plan" in same.stdout


def test_completing_never_makes_a_store_nor_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUPLAN_DATABASE_URL", raising=False)
    assert completed("gpuplan compare ") == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "gpuplan.db").write_text("no database " * 100)
    for complete in (completion.plan_ids, completion.deployments, completion.services, completion.gpus):
        assert complete("") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell: str) -> None:
    script = CliRunner().invoke(app, ["--show-completion", shell]).stdout
    assert "_GPUPLAN_COMPLETE" in script or "gpuplan" in script


def test_comparing_two_plans(tmp_path: Path) -> None:
    def plan(name: str, **changes: object) -> str:
        path = tmp_path / name
        path.write_text(json.dumps({**document, **changes}), encoding="utf-8")
        return str(path)

    document = {
        "kind": "power", "outcome": "optimal", "objective": 40.0, "spec": _power_spec(), "profile_digest": "a",
        "explanation": ["for a reason"],
    }  # fmt: skip
    old, new = plan("old.json"), plan("new.json", objective=50.0, profile_digest="b", explanation=["for another"])
    shown = CliRunner().invoke(app, ["compare", old, new])
    assert shown.exit_code == 0, shown.output
    assert "objective  40 → 50 (+25.0%)" in shown.stdout
    assert "• for another" in shown.stdout
    found = json.loads(CliRunner().invoke(app, ["compare", old, new, "--json"]).stdout)
    assert (found["objective"]["difference"], found["same"]) == (10.0, False)


def _power_spec() -> Any:
    from planner.registry import planner_for

    return planner_for("power").load([ROOT / "examples/power.yaml"], {}).model_dump(mode="json")
