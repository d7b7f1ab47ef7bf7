"""Small serving plans to render, and names made to break out of rendered files."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st

from planner.serving.plan import Allocation, Rental, Route, ServingPlan
from planner.serving.spec import ServingSpec
from profiles.types import Layout

MODEL = "meta-llama/Llama-3.1-8B-Instruct"

EVIL = (
    "{{ .Values.secret }}", "${{ groups[0].nodes[0].IP_ADDRESS }}", "$(id)", "$$(HOME)", "`id`", "a; reboot", "$HOME",
    "a' b\" c", "../../etc/passwd", "/abs/path", "-rf", "--help", "a\nb: c", "a\r\n---\nkind: Secret", "&anchor",
    "!!python/object:os.system x", "*alias", "# no comment", "key: value", "[1, 2]", "{a: b}", "yes", "NO", "on", "y",
    "null", "~", "1e3", "0o7", "0x1f", "12:30:00", "2026-01-01", "1_000", ".inf", "é 🚀 ×", "a\u2028\u0085b",
    "tab\there", "\u202eevil", "%s %d", "trailing\\", "x" * 200, "a" + " " * 150 + "b", "*?[a]", "\x07bell", "<<", "=",
    "- x", "? x", "| x", "> x", "@x", "`x`",
)  # fmt: skip
"""Each would mean something to YAML, a shell, Helm, dstack, Kubernetes or a file system."""

names = st.one_of(
    st.sampled_from(EVIL),
    st.text(st.sampled_from("${}()'\"`\\\n\t!&*#:-,[]|>%@ =~?aZ0é\u2028/."), min_size=1, max_size=60),
    st.text(min_size=1, max_size=200),
).map(str.strip).filter(lambda name: bool(name) and "\0" not in name)  # fmt: skip
"""Names that a spec takes: stripped, not empty, at most 200 characters. A command cannot hold NUL."""


def unit(**changes: Any) -> Allocation:
    """A unit of one H100 on AWS; ``changes`` of Layout's fields go there."""
    layout = {name: changes.pop(name) for name in ("tp", "pp", "dp", "ep") if name in changes}
    precision, engine = changes.pop("precision", "bf16"), changes.pop("engine", "vllm")
    gpu = changes.get("gpu", "H100")
    made = Layout(model=MODEL, gpu=gpu, precision=precision, engine=engine, **layout)
    fields = {
        "unit": f"chat/{made.label}", "service": "chat", "gpu": gpu, "gpus_per_replica": made.num_gpus,
        "precision": precision, "engine": engine, "layout": made, "provider": "aws", "instance_type": "p5.4xlarge",
        "region": "us-east-1", "market": "on_demand", "replicas": 3, "utilisation": 0.8, "usd_per_hour": 12.0,
        "power_w": 2100.0,
    }  # fmt: skip
    return Allocation(**fields | changes)


def route(to: str, **changes: Any) -> Route:
    fields = {
        "service": "chat", "input_tokens": (1, 1000), "output_tokens": (1, 200), "mean_input_tokens": 500.0,
        "mean_output_tokens": 100.0, "unit": to, "fraction": 1.0, "requests_per_s": 3.0,
        "requests_per_s_per_replica": 4.0, "concurrency": 40.2, "ttft_ms": 100.0, "tpot_ms": 20.0, "e2e_ms": 900.0,
        "origin": "measured",
    }  # fmt: skip
    return Route(**fields | changes)


def plan(
    *units: Allocation, routing: tuple[Route, ...] | None = None, gpus_per_instance: int = 1, name: str = "spec",
    service: str = "chat", model: str = MODEL, **changes: Any,
) -> ServingPlan:  # fmt: skip
    """A plan of ``units``, on instances of ``gpus_per_instance``, which are as few as hold them."""
    rows = units or (unit(),)
    rows = tuple(row.model_copy(update={"service": service}) if row.service == "chat" else row for row in rows)
    routes = tuple(route(row.unit, fraction=1 / len(rows)) for row in rows) if routing is None else routing
    routes = tuple(r.model_copy(update={"service": service}) if r.service == "chat" else r for r in routes)
    workload = {"buckets": [{"input_tokens": (1, 1000), "output_tokens": (1, 200), "requests_per_s": 3.0}]}
    services = dict.fromkeys(row.service for row in rows)
    spec = ServingSpec.model_validate({
        "name": name,
        "services": [{"name": s, "model": model, "workload": workload, "slo": {"ttft_ms": 2000}} for s in services],
    })  # fmt: skip
    return ServingPlan(
        outcome="optimal",
        spec=spec,
        allocation=rows,
        routing=routes,
        rentals=_rentals(rows, gpus_per_instance),
        **changes,
    )


def _rentals(rows: tuple[Allocation, ...], size: int) -> tuple[Rental, ...]:
    def place(row: Allocation) -> tuple[str, ...]:
        return (row.provider, row.instance_type, row.region, row.market, row.gpu)

    found = []
    for (provider, instance_type, region, market, gpu), members in itertools.groupby(sorted(rows, key=place), place):
        used = sum(row.replicas * row.gpus_per_replica for row in members)
        found.append(Rental(
            provider=provider, instance_type=instance_type, region=region, market=market, gpu=gpu,
            gpus_per_instance=size, instances=-(-used // size), gpus_used=used, usd_per_instance_hour=4.0,
            usd_per_hour=4.0,
        ))  # fmt: skip
    return tuple(found)


SPLIT = plan(
    unit(unit="chat/read", role="prefill"),
    unit(unit="chat/decode", role="decode", tp=2, replicas=1),
    unit(unit="chat/whole"),
    routing=(route("chat/read", decode_unit="chat/decode", fraction=0.6), route("chat/whole", fraction=0.4)),
    gpus_per_instance=8,
)
"""A service that is split in part: 40% of requests are served whole."""
