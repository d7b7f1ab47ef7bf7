"""Spec files: every format and shape that a person may hand over, and what is said of those that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.errors import InvalidInput
from planner.serving.load import load

ALL_EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
EXAMPLES = [path for path in ALL_EXAMPLES if "kind: serving" in path.read_text(encoding="utf-8")]
SPEC: dict[str, Any] = {
    "name": "chat",
    "services": [{
        "name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"tpot_ms": 100},
        "workload": {"buckets": [{"input_tokens": [1, 512], "output_tokens": [1, 128], "requests_per_s": 3}]},
    }],
}  # fmt: skip
TRACE = "timestamp,input_tokens,output_tokens\n0,100,50\n100,300,20\n"


def written(tmp_path: Path, content: str | bytes, name: str = "spec.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def with_workload(workload: object) -> str:
    return json.dumps({**SPEC, "services": [{**SPEC["services"][0], "workload": workload}]})


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (yaml.safe_dump(SPEC), "spec.yaml"),
        (yaml.safe_dump(SPEC).replace("\n", "\r\n"), "spec.yml"),
        ("\ufeff" + yaml.safe_dump(SPEC), "spec.yaml"),
        (json.dumps(SPEC), "spec.json"),
        (json.dumps(SPEC), "spec"),
    ],
)
def test_yaml_and_json_say_the_same(tmp_path: Path, content: str, name: str) -> None:
    spec = load(written(tmp_path, content, name), {})
    assert spec == load(written(tmp_path, json.dumps(SPEC), "plain.json"), {})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    assert load(path, {}).services


NOT_SPECS = {
    "empty": ("", "is empty"),
    "blank": ("  \n\n", "is empty"),
    "picture": (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "is not a text file"),
    "other encoding": (yaml.safe_dump(SPEC).encode("utf-16"), "is not a text file"),
    "half a list": ("a: [1,2\nb: }", "is not well-formed YAML"),
    "tabs": ("a:\n\t- b", "is not well-formed YAML"),
    "half an object": ('{"a": 1,}', "is not well-formed JSON"),
    "not a number": ('{"a": NaN}', "contains NaN"),
    "key twice": ("name: x\nname: y\n", "has the key 'name' twice"),
    "json key twice": ('{"name": 1, "name": 2}', "has the key 'name' twice"),
    "alias": ("a: &x [1]\nb: *x\n", "uses YAML aliases"),
    "python object": ("!!python/object/apply:os.system ['true']", "is not well-formed YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "is not well-formed YAML"),
    "deep": ("[" * 1_000_000, "is nested too deeply"),
    "long number": ("a: 1" + "0" * 5000, "contains a value that cannot be read"),
    "long json number": ('{"a": 1' + "0" * 5000 + "}", "contains a value that cannot be read"),
    "no such day": ("a: 2024-13-45\n", "contains a value that cannot be read"),
    "list": ("[1, 2]", "holds a list"),
    "word": ("hello\n", "holds 'hello'"),
    "nothing": ("null\n", "holds None"),
    "a trace": (TRACE, "where an object with fields is needed"),
}


@pytest.mark.parametrize(("content", "said"), NOT_SPECS.values(), ids=NOT_SPECS)
def test_files_that_are_no_specs(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InvalidInput) as error:
        load(path, {})
    assert said in error.value.detail
    assert str(error.value.field).startswith(str(path))


@pytest.mark.parametrize("place", ["nope.yaml", "."])
def test_files_that_cannot_be_read(tmp_path: Path, place: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(tmp_path / place, {})


def test_a_trace_named_in_a_spec_is_found_beside_it(tmp_path: Path) -> None:
    written(tmp_path, TRACE, "requests.csv")
    spec = load(written(tmp_path, with_workload({"trace": "requests.csv", "rate": "mean"})), {})
    assert sum(b.requests_per_s for b in spec.services[0].workload.buckets) == pytest.approx(2 / 100)
    assert "requests.csv" in spec.services[0].workload.description


def test_a_trace_option_replaces_the_workload(tmp_path: Path) -> None:
    trace = written(tmp_path, TRACE, "requests.csv")
    spec = load(written(tmp_path, json.dumps(SPEC)), {"trace": trace})
    assert len(spec.services[0].workload.buckets) == 2


def test_a_trace_option_for_several_services_is_refused(tmp_path: Path) -> None:
    two = {**SPEC, "services": [{**SPEC["services"][0], "name": name} for name in "ab"]}
    with pytest.raises(InvalidInput, match="which of 2 services") as error:
        load(written(tmp_path, json.dumps(two)), {"trace": written(tmp_path, TRACE, "requests.csv")})
    assert error.value.fix == "name it in the spec: workload: {trace: FILE}"


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({"trace": "nope.csv"}, "nope.csv: cannot be read"),
        ({"trace": 5}, "services[0].workload: trace"),
        ({"trace": "t.csv", "rate": "peak"}, "services[0].workload: rate: must be 'mean' or 'busiest' (got 'peak')"),
        ({"trace": "t.csv", "window_s": 0.1}, "window_s: must be greater than or equal to 1 (got 0.1)"),
        ({"trace": "t.csv", "rates": 5}, "rates: unknown field; did you mean 'rate'?"),
    ],
)
def test_mistakes_in_a_trace_workload(tmp_path: Path, workload: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        load(written(tmp_path, with_workload(workload)), {})
    assert said in str(error.value)


def test_many_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    wrong = json.dumps({**SPEC, "limits": {"power_w": -1}, "objective": "money", "service": []})
    with pytest.raises(InvalidInput) as error:
        load(written(tmp_path, wrong), {})
    for said in ("3 mistakes", "objective: must be 'cost'", "limits.power_w: must be", "did you mean 'services'?"):
        assert said in str(error.value)
