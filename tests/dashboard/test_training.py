"""The training page: its figures are the service's, the address restores it, and its charts hold what plans say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.training import links, pareto, schedule, settings, sizes, stacked, words
from tests.dashboard.conftest import OpenPage

Document = dict[str, Any]

SMALL: Document = {
    "kind": "training", "name": "small", "model": "own",
    "shape": {"num_layers": 8, "hidden_size": 1024, "num_attention_heads": 8, "vocab_size": 8000},
    "sequence_length": 1024, "global_batch": 32, "tokens": 1e9,
    "cluster": {"groups": [{"name": "a", "gpu": "A100-80GB", "nodes": 2, "gpus_per_node": 2}]},
    "choices": {"frameworks": ["megatron-lm"], "recompute": ["none"]},
}  # fmt: skip
LINKS = [[0, 10, 20, 30], [11, 0, 21, 31], [12, 22, 0, 32], [13, 23, 33, 0]]
TABS = ("Ranking", "Time and money", "Memory", "Step", "Schedule", "Links", "Failures and nodes")


@pytest.fixture(scope="module")
def service(service_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service_url, timeout=60, headers={"Prefer": "wait=30"}) as client:
        yield client


@pytest.fixture(scope="module")
def small(service: httpx.Client) -> Document:
    return made(service, SMALL)


def made(service: httpx.Client, spec: Document) -> Document:
    answer = service.post("/v1/plans", json={"kind": "training", "spec": spec, "time_limit_s": 60})
    assert answer.status_code == 201, answer.text
    plan: Document = answer.json()
    return plan


def metric(page: AppTest, label: str) -> str:
    return str(next(m.value for m in page.metric if m.label == label))


def texts(page: AppTest) -> str:
    return " ".join(str(m.value) for m in (*page.markdown, *page.info, *page.warning, *page.error))


def test_it_begins_with_the_example(open_page: OpenPage, service: httpx.Client) -> None:
    page = open_page("training")
    example = service.get("/v1/planners/training").json()["example"]
    newest = service.get("/v1/plans", params={"kind": "training", "limit": 1}).json()["plans"][0]["id"]
    plan = service.get(f"/v1/plans/{newest}").json()
    best = plan["ranked"][0]
    assert not page.exception
    assert plan["spec"]["name"] == example["name"]
    assert metric(page, "Time to train") == f"{best['days_to_train']:.3g} days"
    assert metric(page, "Money") == f"${best['usd_to_train']:,.0f}"
    assert metric(page, "MFU") == f"{best['mfu']:.1%}"
    assert page.selectbox(key="llm").value == example["model"]


@pytest.mark.parametrize("tab", TABS)
def test_every_view_of_a_saved_plan(open_page: OpenPage, small: Document, tab: str) -> None:
    row = next(i for i, c in enumerate(small["ranked"]) if c["pipeline_parallel"] > 1)
    page = open_page("training", plan=small["id"], look=tab, configuration=str(row + 1))
    assert not page.exception
    assert not page.error
    assert page.number_input(key="configuration").value == row + 1
    assert words.degrees(small["ranked"][row]) in texts(page)
    if tab == "Schedule":
        assert metric(page, "Schedule").startswith("1F1B")


def test_controls_change_the_spec_and_the_address_restores_them(
    open_page: OpenPage, service: httpx.Client, small: Document
) -> None:
    page = open_page("training", plan=small["id"])
    page.number_input(key="nodes_0").set_value(1)
    page.number_input(key="batch").set_value(16).run()
    changed = {**SMALL, "global_batch": 16, "cluster": {"groups": [{**SMALL["cluster"]["groups"][0], "nodes": 1}]}}
    days = f"{made(service, changed)['ranked'][0]['days_to_train']:.3g} days"
    assert metric(page, "Time to train") == days
    assert metric(open_page("training", plan=small["id"], nodes_0="1", batch="16"), "Time to train") == days


def test_a_large_cluster_waits_for_a_button(open_page: OpenPage, small: Document) -> None:
    page = open_page("training", plan=small["id"], nodes_0="64")
    assert not page.exception
    assert not page.metric
    assert page.button(key="plan training").label == "Plan"


def test_what_cannot_be_is_told_with_what_would_help(
    open_page: OpenPage, service: httpx.Client, small: Document
) -> None:
    page = open_page("training", plan=small["id"], deadline_days="0.0000001")
    assert not page.exception
    assert "No plan can do this" in texts(page)
    too_large = {**SMALL, "shape": {**SMALL["shape"], "num_layers": 96, "hidden_size": 12288}}
    plan = made(service, too_large)
    assert plan["fixes"]
    page = open_page("training", plan=plan["id"])
    assert "What would fit" in [header.value for header in page.header]


def test_nonsense_in_the_address_is_told_and_left_out(open_page: OpenPage, small: Document) -> None:
    page = open_page("training", plan=small["id"], batch="-3", least="beauty", configuration="many", look="<script>",
                     train_gpu_0="abacus", precision="fp1")  # fmt: skip
    assert not page.exception
    assert "values that this page cannot use" in page.info[0].value
    assert metric(page, "Time to train") == f"{small['ranked'][0]['days_to_train']:.3g} days"


def test_a_row_beyond_the_last_is_the_last(open_page: OpenPage, small: Document) -> None:
    page = open_page("training", plan=small["id"], configuration="1000")
    assert f"{len(small['ranked'])} of {len(small['ranked'])}" in texts(page)


def test_impossible_numbers_are_refused_in_words(open_page: OpenPage, small: Document) -> None:
    page = open_page("training", plan=small["id"], billion_tokens="0.000001", length="9000")
    assert not page.exception
    assert "tokens" in page.error[0].value


def test_settings_that_change_nothing_give_the_same_spec(small: Document) -> None:
    for spec in (SMALL, small["spec"]):
        assert settings.written(spec, settings.read(spec)) is spec


def test_settings_are_written_where_they_belong(small: Document) -> None:
    now = settings.read(small["spec"])
    now |= {"billion_tokens": 2.0, "training_kw": 3.0, "deadline_days": 5.0, "least": "money", "recompute": ["full"],
            "frameworks": [], "llm": "meta-llama/Llama-3.1-8B", "train_gpu_0": "H100", "nodes_0": 3}  # fmt: skip
    spec = settings.written(small["spec"], now)
    assert (spec["tokens"], spec["power_limit_w"], spec["deadline_days"]) == (2e9, 3000.0, 5.0)
    assert (spec["objective"], spec["model"], spec["shape"]) == ("money", "meta-llama/Llama-3.1-8B", None)
    assert spec["choices"]["recompute"] == ["full"]
    assert spec["choices"]["frameworks"] == ["megatron-lm"]
    assert [(g["gpu"], g["nodes"]) for g in spec["cluster"]["groups"]] == [("H100", 3)]
    assert settings.read(spec) | {"frameworks": []} == now


def test_another_gpu_has_its_own_price_and_links() -> None:
    group = {"gpu": "A100-SXM-80GB", "nodes": 2, "usd_per_gpu_hour": 1.5, "within_gb_per_s": 300.0}
    spec = {**SMALL, "cluster": {"groups": [group]}}
    changed = settings.written(spec, settings.read(spec) | {"train_gpu_0": "H100"})["cluster"]["groups"][0]
    assert (changed["usd_per_gpu_hour"], changed["within_gb_per_s"]) == (None, None)
    same = settings.written(spec, settings.read(spec) | {"nodes_0": 3})["cluster"]["groups"][0]
    assert (same["usd_per_gpu_hour"], same["within_gb_per_s"]) == (1.5, 300.0)


def test_fewer_nodes_keep_their_links_and_names() -> None:
    groups = [{"name": "a", "gpu": "H100", "nodes": 2, "hosts": ["x", "y"]}, {"name": "b", "gpu": "H100", "nodes": 2}]
    spec = {**SMALL, "cluster": {"groups": groups, "gb_per_s": LINKS}}
    changed = settings.written(spec, settings.read(spec) | {"nodes_0": 1})["cluster"]
    assert changed["gb_per_s"] == [[0, 20, 30], [12, 0, 32], [13, 33, 0]]
    assert changed["groups"][0]["hosts"] == ["x"]
    more = settings.written(spec, settings.read(spec) | {"nodes_1": 3})["cluster"]
    assert more["gb_per_s"] is None


def test_links_are_measured_or_their_groups() -> None:
    groups = [{"name": "a", "gpu": "H100", "nodes": 2, "between_gb_per_s": 100},
              {"name": "b", "gpu": "H100", "nodes": 2, "between_gb_per_s": 40}]  # fmt: skip
    names = links.host_names({"groups": groups})
    assert names == ["a-0", "a-1", "b-0", "b-1"]

    def rates(**more: Any) -> dict[tuple[str, str], float]:
        cells = links.matrix({"groups": groups, **more}, list(reversed(names)))
        return {(cell["from"], cell["to"]): cell["GB/s"] for cell in cells}

    assert rates(gb_per_s=LINKS) == {(names[i], names[j]): LINKS[i][j] for i in range(4) for j in range(4) if i != j}
    by_group = rates()
    assert (by_group["a-0", "a-1"], by_group["b-0", "b-1"], by_group["a-0", "b-0"]) == (100, 40, 40)
    assert rates(between_groups_gb_per_s=5)["a-1", "b-0"] == 5
    assert "The slowest, a-0 to a-1, carries 10 GB/s" in links.says(links.matrix(
        {"groups": groups, "gb_per_s": LINKS}, names))  # fmt: skip


def test_ranks_on_nodes() -> None:
    best = {"tensor_parallel": 2, "context_parallel": 1, "data_parallel": 2, "pipeline_parallel": 2}
    mapping = [{"rank": rank, "node": "x" if rank in (0, 1, 4, 5) else "y", "gpu": 0} for rank in range(8)]
    first, second = links.places(mapping, best)
    assert (first["ranks"], first["stages"], first["replicas"]) == ("0–1, 4–5", "0–1", "0")
    assert second["replicas"] == "1"


def test_parts_add_up_to_memory_and_step(small: Document) -> None:
    ranked = small["ranked"]
    row = len(ranked) - 1
    for of, names, unit, total in (("memory", words.MEMORY_PARTS, "GiB", "memory_gib_per_gpu"),
                                   ("parts", words.TIME_PARTS, "ms", "step_ms")):  # fmt: skip
        found = stacked.parts(ranked, row, of, names, unit)
        for i in {part["row"] - 1 for part in found}:
            assert sum(part[unit] for part in found if part["row"] == i + 1) == pytest.approx(ranked[i][total])
        assert row + 1 in {part["row"] for part in found}


def test_points_are_of_what_is_chosen(small: Document) -> None:
    front = pareto.points(small, "money", (pareto.FRONT,))
    assert len(front) == len({(c["days_to_train"], c["usd_to_train"]) for c in small["pareto"]})
    assert pareto.points(small, "energy", ()) == []
    everything = pareto.points(small, "energy", tuple(pareto.SHAPES))
    assert len(everything) > len(front)
    assert everything[0]["days"] == min(one["days"] for one in everything)
    unpriced = {**small, "pareto": [{**c, "usd_to_train": None} for c in small["pareto"]]}
    assert pareto.points(unpriced, "money", (pareto.FRONT,)) == []


def test_windows_of_the_schedule_hold_every_pass(service: httpx.Client, small: Document) -> None:
    row = next(i for i, c in enumerate(small["ranked"]) if c["pipeline_parallel"] > 1)
    timeline = service.get(f"/v1/plans/{small['id']}/timeline", params={"row": row}).json()
    spans = schedule.windows(timeline["passes"], most=10)
    assert spans[0][0] == 0
    assert spans[-1][1] == timeline["end_ms"]
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    shown = [bar for span in spans for bar in schedule.bars(timeline, *span)]
    drawn_ms = sum(bar["end ms"] - bar["start ms"] for bar in shown)
    assert drawn_ms == pytest.approx(sum(one["end_ms"] - one["start_ms"] for one in timeline["passes"]))


def test_numbers_of_nodes_that_nothing_fits_on_say_why(small: Document) -> None:
    nothing = {"num_nodes": 3, "configuration": None, "why_not": "nothing fits", "switch_s": 90.0}
    row = sizes.elastic([*small["elastic"], nothing])[-1]
    assert (row["configuration"], row["days"], row["switch"]) == ("nothing fits", None, "1.5 min")
