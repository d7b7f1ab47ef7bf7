"""vLLM's metrics, as its own client library writes them: from files, from Prometheus' answers, and over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from planner.cli import app
from planner.errors import InvalidInput
from planner.serving.load import load
from planner.serving.observed import Observed, Reading, observe
from planner.telemetry import scrape

prometheus_client = pytest.importorskip("prometheus_client")

EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
"""vLLM's, for a model of 20,000 tokens of context."""


class Server:
    """What a vLLM server counts: its metrics by the library that it uses itself."""

    def __init__(self, model: str = "m", engine: str = "0") -> None:
        self.registry = prometheus_client.CollectorRegistry()
        labels = {"labelnames": ["model_name", "engine"], "registry": self.registry}
        sides = ("request_prompt_tokens", "request_generation_tokens")
        self.sizes = [prometheus_client.Histogram(f"vllm:{side}", side, buckets=EDGES, **labels) for side in sides]
        self.ended = prometheus_client.Counter(
            "vllm:request_success", "x", ["model_name", "engine", "finished_reason"], registry=self.registry
        )
        self.labels = (model, engine)

    def serve(self, sizes: list[tuple[int, int]], reason: str = "stop") -> None:
        for size in sizes:
            for histogram, tokens in zip(self.sizes, size, strict=True):
                histogram.labels(*self.labels).observe(tokens)
            self.ended.labels(*self.labels, reason).inc()

    def text(self) -> str:
        return str(prometheus_client.generate_latest(self.registry).decode())


def sizes(count: int, seed: int = 0) -> list[tuple[int, int]]:
    random = np.random.default_rng(seed)
    pairs = np.exp(random.multivariate_normal([6, 5], [[1, 0.5], [0.5, 0.6]], count)).astype(int) + 1
    return [(int(a), int(b)) for a, b in np.minimum(pairs, 19_999)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def written(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def tokens(seen: Observed) -> np.ndarray:
    return np.array([b.requests_per_s * np.array(b.size) for b in seen.workload.buckets]).sum(axis=0)


def test_two_scrapes_say_how_much_came_between_them(write: Callable[[str, str], Path]) -> None:
    server = Server()
    server.serve(sizes(500, 1))
    first = write("first.prom", server.text())
    came = sizes(720, 2)
    server.serve(came)
    seen = observe([first, write("second.prom", server.text())], Reading(interval_s=60))
    assert seen.requests_per_s == pytest.approx(12)
    assert sum(b.requests_per_s for b in seen.workload.buckets) == pytest.approx(12)
    assert tokens(seen) == pytest.approx(np.array(came).sum(axis=0) / 60, rel=0.02)  # of the time between alone
    for side, edges in ((0, "input_tokens"), (1, "output_tokens")):
        for bucket in seen.workload.buckets:
            low, high = getattr(bucket, edges)
            share = np.mean([low <= size[side] <= high for size in came])
            rate = sum(b.requests_per_s for b in seen.workload.buckets if getattr(b, edges) == (low, high))
            assert rate / 12 == pytest.approx(share, abs=1e-6)
    assert "as if independent (maximum entropy)" in seen.workload.description


def test_a_server_that_was_started_again_counts_from_zero(write: Callable[[str, str], Path]) -> None:
    before, after = Server(), Server()
    before.serve(sizes(900, 1))
    after.serve(sizes(120, 2))
    seen = observe([write("a.prom", before.text()), write("b.prom", after.text())], Reading(interval_s=60))
    assert seen.requests_per_s == pytest.approx(2)


def test_servers_are_added_up_and_what_left_does_not_count(write: Callable[[str, str], Path]) -> None:
    stays, leaves, comes = Server(engine="0"), Server(engine="1"), Server(engine="2")
    stays.serve(sizes(100))
    leaves.serve(sizes(5000))
    first = write("a.prom", stays.text() + leaves.text())
    stays.serve(sizes(60))
    stays.serve(sizes(30), reason="length")  # a label that was not there before
    comes.serve(sizes(90))
    seen = observe([first, write("b.prom", stays.text() + comes.text())], Reading(interval_s=60))
    assert seen.requests_per_s == pytest.approx(3)


def test_one_scrape_has_sizes_and_needs_a_rate(write: Callable[[str, str], Path]) -> None:
    server = Server()
    server.serve(sizes(500))
    path = write("a.prom", server.text())
    with pytest.raises(InvalidInput, match="says nothing of a rate"):
        observe([path])
    seen = observe([path], Reading(requests_per_s=3))
    assert tokens(seen) == pytest.approx(3 * np.mean(sizes(500), axis=0), rel=0.02)


def answer(points: dict[float, str], drop: str = "") -> str:
    """The scrapes as Prometheus would answer a range query for them."""
    from prometheus_client.parser import text_string_to_metric_families

    series: dict[str, Any] = {}
    for at, text in points.items():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                metric = {"__name__": sample.name, "instance": "a:8000", **sample.labels}
                if not (drop and drop in sample.name):
                    entry = series.setdefault(json.dumps(metric), {"metric": metric, "values": []})
                    entry["values"].append([at, str(sample.value)])
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(series.values())}})


def test_a_range_query_gives_rates_over_time(write: Callable[[str, str], Path]) -> None:
    server, points = Server(), {}
    per_step = [60] * 12 + [600] + [60] * 12  # five-minute steps, one of them busy
    start = 1_709_251_200.0
    server.serve(sizes(1000))
    points[start] = server.text()
    for i, count in enumerate(per_step):
        server.serve(sizes(count, i))
        points[start + 300 * (i + 1)] = server.text()
    path = write("a.json", answer(points))
    assert observe([path]).requests_per_s == pytest.approx(2)
    mean = sum(per_step) / (300 * len(per_step))
    seen = observe([path], Reading(rate="mean"))
    assert seen.requests_per_s == pytest.approx(mean)
    assert seen.first_hour is not None
    assert seen.first_hour.timestamp() == start
    assert seen.hourly_requests_per_s == pytest.approx([720 / 3600, 1260 / 3600, 60 / 300])
    # Servers of before request_success_total: the histograms count as well.
    older = write("b.json", answer(points, drop="success"))
    assert observe([older], Reading(rate="mean")).requests_per_s == pytest.approx(mean)


def test_names_with_underscores_are_the_same_metrics(write: Callable[[str, str], Path]) -> None:
    server = Server()
    server.serve(sizes(50))
    reading = Reading(requests_per_s=1)
    plain = observe([write("a.prom", server.text())], reading).workload.buckets
    assert observe([write("b.prom", server.text().replace("vllm:", "vllm_"))], reading).workload.buckets == plain


def test_of_several_models_one_is_named(write: Callable[[str, str], Path]) -> None:
    a, b = Server("a"), Server("b")
    a.serve([(10, 10)] * 4)
    b.serve([(1000, 1000)] * 4)
    path = write("a.prom", a.text() + b.text())
    with pytest.raises(InvalidInput, match="2 models: a, b"):
        observe([path], Reading(requests_per_s=1))
    (bucket,) = observe([path], Reading(requests_per_s=1, model="b")).workload.buckets
    assert bucket.size == (1000, 1000)
    with pytest.raises(InvalidInput, match="no model 'c' but a, b"):
        observe([path], Reading(requests_per_s=1, model="c"))


HEAD = "# TYPE vllm:request_prompt_tokens histogram\n"
ONE = 'vllm:request_prompt_tokens_bucket{le="+Inf"} 5\n'


def range_of(*times_s: float) -> str:
    """An answer of Prometheus whose counters grow by five from each time to the next."""
    sides = ("request_prompt_tokens_bucket", "request_generation_tokens_bucket")
    names = [({"__name__": f"vllm:{side}", "le": le}) for side in sides for le in ("10", "+Inf")]
    points = [[at, f"{5 * i}"] for i, at in enumerate(times_s)]
    result = [{"metric": name, "values": points} for name in (*names, {"__name__": "vllm:request_success_total"})]
    return json.dumps({"status": "success", "data": {"result": result}})


BAD = {
    "nothing of ours": ("a.prom", "# TYPE up gauge\nup 1\n", "none of vLLM's request metrics"),
    "half a line": ("a.prom", HEAD + 'vllm:request_prompt_tokens_bucket{le="1" 5\n', "not Prometheus' text format"),
    "one side": ("a.prom", HEAD + ONE, "vllm:request_generation_tokens_bucket: is missing"),
    "no requests": ("a.prom", HEAD + ONE.replace("5", "0"), "no request ended"),
    "not a number": ("a.prom", HEAD + ONE.replace("} 5", "} NaN"), "finite"),
    "negative": ("a.prom", HEAD + ONE.replace("} 5", "} -5"), "not negative"),
    "endless": ("a.prom", HEAD + ONE.replace("} 5", "} 1e308"), "at most"),
    "too many digits": ("a.prom", HEAD + ONE.replace("} 5", "} 5 " + "9" * 400), "not Prometheus' text format"),
    "an edge of no tokens": ("a.prom", HEAD + ONE.replace("+Inf", "1e18"), "'1e18' is no upper end"),
    "not seconds": ("a.json", range_of(0, 1e18), "seconds since 1970"),
    "a span of ages": ("a.json", range_of(0, 1e10), "spans 317 years"),
    "a burst": ("a.json", range_of(1e9, 1e9 + 1e-7), "e+07 requests/s, which nothing answers"),
    "no edge": ("a.prom", HEAD + ONE.replace("+Inf", "x"), "'x' is no upper end"),
    "error": ("a.json", '{"status": "error", "data": 1, "error": "bad query"}', "no answer of Prometheus: 'bad query'"),
    "rates": ("a.json", '{"status": "success", "data": {"result": [{"metric": {"le": "1"}, "values": [[1, "2"]]}]}}',
              "none of vLLM's request metrics"),
    "no pairs": ("a.json", '{"status": "success", "data": {"result": [{"metric": '
                 '{"__name__": "vllm:request_success_total"}, "values": [5]}]}}', "not shaped like"),
    "nested": ("a.json", '{"status": "success", "data": ' + "[" * 100_000, "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_metrics_are_named(write: Callable[[str, str], Path], what: str) -> None:
    name, text, said = BAD[what]
    with pytest.raises(InvalidInput) as error:
        observe([write(name, text)], Reading(requests_per_s=1))
    assert said in str(error.value)


def test_options_that_do_not_fit(write: Callable[[str, str], Path]) -> None:
    server = Server()
    server.serve(sizes(9))
    a, b = write("a.prom", server.text()), write("b.prom", server.text())
    trace = write("t.csv", "time,input_tokens,output_tokens\n0,1,1\n9,1,1\n")
    for sources, reading, said in (
        ([a, b], Reading(), "scrapes without times"),
        ([a, b], Reading(interval_s=9), "no request ended"),
        ([a], Reading(interval_s=9), "there is one file"),
        ([trace], Reading(correlation=0.5), "are for metrics"),
        ([a], Reading(requests_per_s=1, correlation=1.0), "not between"),
        ([], Reading(), "SOURCE"),
    ):
        with pytest.raises(InvalidInput) as error:
            observe(sources, reading)
        assert said in str(error.value)


def test_a_spec_takes_metrics_as_its_workload(write: Callable[[str, str], Path]) -> None:
    server = Server()
    server.serve(sizes(300))
    write("a.prom", server.text())
    workload = {"trace": "a.prom", "requests_per_s": 7, "correlation": 0.5}
    spec = write("spec.yaml", yaml.safe_dump({"services": [{"name": "a", "model": "m", "workload": workload}]}))
    found = load(spec, {}).services[0].workload
    assert sum(bucket.requests_per_s for bucket in found.buckets) == pytest.approx(7)
    assert "rank correlation 0.5" in found.description


@pytest.fixture
def http() -> Iterator[tuple[str, dict[str, Any]]]:
    """A server whose answers are set by path: text, a status, a redirect, or a function of the handler."""
    answers: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = answers.get(self.path, 404)
            if callable(given):
                given(self)
            elif isinstance(given, int):
                self.send_error(given)
            elif isinstance(given, tuple):
                self.send_response(302)
                self.send_header("Location", given[0])
                self.end_headers()
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(given if isinstance(given, bytes) else given.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    server.server_close()


def test_a_server_is_scraped_twice(http: tuple[str, dict[str, Any]]) -> None:
    url, answers = http
    server = Server()

    def metrics(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(server.text().encode())
        server.serve(sizes(100))

    answers["/metrics"] = metrics
    server.serve(sizes(50))
    seen = observe([f"{url}/metrics"], Reading(interval_s=0.2))
    assert 100 < seen.requests_per_s <= 100 / 0.2
    answers["/moved"] = ("/metrics",)
    assert observe([f"{url}/moved"], Reading(requests_per_s=1)).requests_per_s == 1


def test_what_is_not_fetched(http: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url, answers = http

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b"# x\n")
            time.sleep(0.02)

    (tmp_path / "secret").write_text("vllm:x")
    answers |= {"/away": ("http://127.0.0.2:1/metrics",), "/file": (f"file://{tmp_path}/secret",), "/500": 500,
                "/loop": ("/loop",), "/binary": b"\xff\xfe", "/large": b"x" * 4096, "/endless": endless}  # fmt: skip
    monkeypatch.setattr(scrape, "MOST_TEXT_BYTES", 2048)
    monkeypatch.setattr(scrape, "TIMEOUT_S", 0.5)
    for source, said in (
        (f"{url}/away", "redirects to another host (127.0.0.2:1)"),
        (f"{url}/file", "is not allowed"),
        (f"{url}/500", "answers 500"),
        (f"{url}/404", "answers 404"),
        (f"{url}/loop", "302"),
        (f"{url}/binary", "does not answer with text"),
        (f"{url}/large", "answers with more than"),
        (f"{url}/endless", "takes longer than 0.5 s"),
        ("http://127.0.0.1:1/metrics", "cannot be fetched"),
        (f"file://{tmp_path}/secret", "no http:// or https:// URL"),
        ("ftp://127.0.0.1/x", "no http:// or https:// URL"),
        ("http://", "no http:// or https:// URL"),
        ("http://[::1", "no http:// or https:// URL"),
        ("http://user:hunter2@127.0.0.1/metrics", "must not hold a user or password"),
        ("http://127.0.0.1/a b", "cannot be fetched"),
    ):
        with pytest.raises(InvalidInput) as error:
            observe([source], Reading(requests_per_s=1))
        assert said in str(error.value)
        assert "hunter2" not in str(error.value)


def shown(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["workload", *map(str, arguments)])


def test_the_command_shows_it_and_writes_what_goes_into_a_spec(
    write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    server = Server()
    server.serve(sizes(300))
    path = write("a.prom", server.text())
    said = shown(path, "--rate", 5, "--correlation", 0.4, "--out", tmp_path / "workload.yaml")
    assert said.exit_code == 0, said.output
    assert "5 requests/s" in said.output
    assert "rank correlation 0.4" in said.output
    service = {"name": "a", "model": "m", **yaml.safe_load((tmp_path / "workload.yaml").read_text())}
    spec = write("spec.yaml", yaml.safe_dump({"services": [service]}))
    told = json.loads(shown(path, "--rate", 5, "--correlation", 0.4, "--json").stdout)
    assert load(spec, {}).services[0].workload == Observed.model_validate(told).workload


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nope.csv"], "nope.csv"), (["a.prom", "--rate", "-1"], "requests_per_s"), (["a.prom", "--of", "peak"], "--of"),
     (["a.prom", "--rate", "1", "--out", "a.txt"], ".yaml"), (["a.prom", "--correlation", "2"], "correlation")],
)  # fmt: skip
def test_mistakes_on_the_command_line(write: Callable[[str, str], Path], arguments: list[str], said: str) -> None:
    server = Server()
    server.serve(sizes(9))
    path = write("a.prom", server.text())
    result = shown(*(path if argument == "a.prom" else argument for argument in arguments))
    assert result.exit_code == 2
    assert said in result.output
