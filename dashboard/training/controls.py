"""The controls of the training page: what is trained, on which GPUs, towards what, within which limits."""

from __future__ import annotations

import streamlit as st

from dashboard import address, replanning
from dashboard.client import Client, Document
from dashboard.start import Start
from dashboard.training import known, settings
from dashboard.training.settings import Settings
from dashboard.training.words import OBJECTIVES
from dashboard.words import plain

QUICK_S, TIME_LIMIT_S = 3.0, 60.0
"""For planning small clusters and large ones. Mapping ranks onto measured links takes what it gets."""

_NOT_PROVEN = ("feasible", "no_solution")


def spec(client: Client, begin: Start) -> Document:
    """The spec to plan for: as it began, with what the controls change."""
    now = settings.read(begin.spec)
    address.begun("training", begin.plan_id, now)
    columns = st.columns([2, 1, 1, 1])
    with columns[0]:
        models = {*known.names(client.url, client.key, "models"), now["llm"]}
        now["llm"] = _one_of("Model", models, now["llm"], "llm")
    numbers = (
        ("Tokens (billions)", "billion_tokens", 1e-6, 1e9, "how much it is trained on, in total"),
        ("Global batch (sequences)", "batch", 1, 10_000_000, "sequences in one step of the whole cluster"),
        ("Sequence length (tokens)", "length", 1, 10_000_000, "of every sequence"),
    )
    for column, (label, name, least, most, meaning) in zip(columns[1:], numbers, strict=True):
        now[name] = column.number_input(
            label, min(least, now[name]), max(most, now[name]), now[name], key=name, bind="query-params",
            help=meaning, format="%g" if isinstance(now[name], float) else None,
        )  # fmt: skip
    _groups(client, begin.spec, now)
    with st.expander("Objective, limits and choices", icon=":material/tune:"):
        _limits(now)
    return settings.written(begin.spec, now)


def plan(client: Client, begin: Start, asked: Document) -> Document | None:
    """The plan of a spec: the saved one, or made now where that is quick, or when the button is pressed."""
    if saved := begin.saved(asked):
        return saved
    body = {"kind": "training", "spec": asked, "time_limit_s": TIME_LIMIT_S}
    if replanning.is_kept(client, "/v1/plans", body):
        return replanning.plan(client, "training", asked, TIME_LIMIT_S)
    if settings.is_quick(asked):
        found = replanning.plan(client, "training", asked, QUICK_S)
        about = f"up to {TIME_LIMIT_S:.0f} s, not {QUICK_S:.0f} s"
        if found["outcome"] in _NOT_PROVEN and st.button("Search longer", key="search longer", help=about):
            return replanning.plan(client, "training", asked, TIME_LIMIT_S)
        return found
    st.markdown("This cluster is large, or of several kinds: planning takes up to a minute, so it waits for you.")
    if st.button("Plan", type="primary", icon=":material/play_arrow:", key="plan training"):
        return replanning.plan(client, "training", asked, TIME_LIMIT_S)
    return None


def _groups(client: Client, asked: Document, now: Settings) -> None:
    """GPU type and number of nodes of each group of the cluster."""
    groups = asked["cluster"]["groups"]
    gpus = known.names(client.url, client.key, "gpus")
    columns = st.columns(4)
    for i, group in enumerate(groups):
        gpu, nodes = f"train_gpu_{i}", f"nodes_{i}"
        of = f" of {plain(group.get('name', 'nodes'))}" if len(groups) > 1 else ""
        with columns[2 * i % 4]:
            now[gpu] = _one_of(f"GPU type{of}", {*gpus, now[gpu]}, now[gpu], gpu)
        most = now[nodes] if settings.is_measured(asked) else max(settings.MOST_NODES, now[nodes])
        about = " Links were measured for these nodes; of fewer, the first ones. For more: a spec without gb_per_s."
        about = about if settings.is_measured(asked) else ""
        now[nodes] = columns[(2 * i + 1) % 4].number_input(
            f"Nodes{of}", 1, most, now[nodes], key=nodes, bind="query-params",
            help=f"with {group.get('gpus_per_node', 8)} GPUs each.{about}",
        )  # fmt: skip


def _limits(now: Settings) -> None:
    columns = st.columns(4)
    with columns[0]:
        now["least"] = st.segmented_control(
            "Least", tuple(OBJECTIVES), default=now["least"], required=True, key="least", bind="query-params",
            help="what configurations are ranked by: days, USD or kWh to train",
        ) or now["least"]  # fmt: skip
    limits = (
        ("Deadline (days)", "deadline_days", "at most so many days to train; 0: no limit"),
        ("Budget (USD)", "training_usd", "at most so much for all GPUs until it is trained; 0: no limit"),
        ("Power limit (kW)", "training_kw", "of all GPUs while training, on average; 0: no limit"),
    )
    for column, (label, name, meaning) in zip(columns[1:], limits, strict=True):
        now[name] = column.number_input(
            label, 0.0, max(1e12, now[name]), now[name], key=name, bind="query-params", help=meaning, format="%g",
        )  # fmt: skip
    choices = (
        ("Frameworks", "frameworks", settings.FRAMEWORKS, "which may be used; none chosen: as the spec has it"),
        (
            "Recomputation",
            "recompute",
            settings.RECOMPUTE,
            "of activations; none chosen: as the spec has it",
        ),
        ("Precision", "precision", settings.PRECISIONS, "of matrix products; none chosen: as the spec has it"),
    )
    for column, (label, name, options, meaning) in zip(st.columns(3), choices, strict=True):
        now[name] = column.multiselect(
            label, options, now[name], key=name, bind="query-params", help=meaning, placeholder="as in the spec"
        )


def _one_of(label: str, options: set[str], value: str, name: str) -> str:
    ordered = sorted(options)
    chosen: str = st.selectbox(label, ordered, index=ordered.index(value), key=name, bind="query-params")
    return chosen
