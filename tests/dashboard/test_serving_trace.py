"""Files of traffic on the serving page, and replays of them: figures are the service's, the address restores them."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.client import Client, Refused
from dashboard.serving import latencies, replay, replayed, trace
from dashboard.serving.replay import Options
from dashboard.serving.trace import FILE, Trace
from dashboard.words import plain
from tests.dashboard.conftest import OpenPage

Document = dict[str, Any]

CSV = "time,input_tokens,output_tokens\n" + "".join(f"{i / 2},{100 + i},{20 + i % 90}\n" for i in range(300))
"""Two requests a second."""


def upload(page: AppTest, content: bytes, name: str = "requests.csv") -> AppTest:
    uploader = next(u for u in page.file_uploader if u.label == "Traffic from a file")
    uploader.set_value((name, content, "application/octet-stream"))
    return page.run()


def simulate(page: AppTest) -> AppTest:
    next(b for b in page.button if b.label == "Simulate").click()
    return page.run()


def address(page: AppTest) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value[0] for name, value in page.query_params.items()}


def simulation_of(page: AppTest, service_url: str) -> Document:
    job_id = address(page)["simulation"].split(".")[0]
    found: Document = httpx.get(f"{service_url}/v1/simulations/{job_id}").json()
    return found


def metric(page: AppTest, label: str) -> str:
    return str(next(m for m in page.metric if m.label == label).value)


def told(page: AppTest) -> str:
    return "\n".join(element.value for element in (*page.error, *page.warning, *page.info, *page.markdown))


def test_a_file_becomes_the_plan_and_its_requests_are_replayed(open_page: OpenPage, service_url: str) -> None:
    page = upload(open_page("serving", view="Simulate"), CSV.encode())
    assert not page.exception
    assert not page.error
    assert "300 requests" in told(page)

    plan = httpx.get(f"{service_url}/v1/plans/{address(page)['plan']}").json()
    read = httpx.post(f"{service_url}/v1/workloads?name=requests.csv", content=CSV).json()
    assert plan["spec"]["services"][0]["workload"] == read["workload"]
    assert metric(page, "Cost") == f"${plan['usd_per_hour']:.2f}/h"

    assert page.selectbox(key="replay_of").value == FILE
    page = simulate(page)
    assert not page.exception
    found = simulation_of(page, service_url)
    assert found["num_requests"] == found["events"]["completed"] == 300
    assert metric(page, "SLO attainment") == f"{found['slo_attainment']:.2%}"

    again = open_page("serving", **address(page))
    assert metric(again, "SLO attainment") == metric(page, "SLO attainment")
    assert "Give a file of requests" in told(again)  # which the address does not keep

    page.number_input(key="rate").set_value(60.0).run()
    assert "The plan has changed since it was simulated" in told(page)


def test_generated_requests_with_failures(open_page: OpenPage, service_url: str) -> None:
    page = open_page("serving", view="Simulate", replay_of="gamma", replay_cv="3", replay_s="60", replay_seed="5",
                     replay_failures="one replica")  # fmt: skip
    assert "Not simulated yet" in told(page)
    page = simulate(page)
    found = simulation_of(page, service_url)
    assert found["seed"] == 5
    assert found["events"]["failures"] == 1
    assert "gamma" in found["services"][0]["traffic"].lower()
    assert f"{found['num_requests']:,} requests of" in told(page)


def test_too_much_traffic_is_said_plainly(open_page: OpenPage) -> None:
    page = simulate(open_page("serving", view="Simulate", replay_rate="40", replay_s="120"))
    assert "More requests came than were served" in page.warning[0].value
    page.number_input(key="replay_s").set_value(86_400.0).run()
    assert "this page simulates 1,000,000 at most" in told(page)
    assert next(b for b in page.button if b.label == "Simulate").disabled


def test_files_that_cannot_be_read_are_refused_in_words(open_page: OpenPage) -> None:
    page = open_page("serving")
    cost = metric(page, "Cost")
    for content, words in (
        (b" \n", "is empty"),
        (b"\x00\xff\xfe" * 1000, "is not a text file"),
        (b"a,b\n1,2\n", "has no column for time"),
        (CSV.replace(",103,", ",many,").encode(), "is not a number of tokens"),
        (CSV.encode("utf-16"), "is not a text file"),
    ):
        upload(page, content, "my traffic.csv")
        assert not page.exception
        assert plain(words) in page.error[0].value
        assert metric(page, "Cost") == cost
    assert plain("my traffic.csv") in page.error[0].value
    upload(page, CSV.encode())
    assert not page.error


def test_a_file_that_nothing_can_serve_is_told_as_such(open_page: OpenPage) -> None:
    page = upload(open_page("serving"), b"time,input_tokens,output_tokens\n0,9000000,5\n1,9000000,5\n")
    assert not page.exception
    assert "No plan can do this" in told(page)
    assert "plan" in address(page)


def test_nonsense_in_the_address_is_left_out(open_page: OpenPage) -> None:
    page = open_page("serving", view="Simulate", simulation="../../healthz", replay_rate="fast", replay_of="all")
    assert not page.exception
    assert not page.error
    assert "Not simulated yet" in told(page)
    (shown,) = (open_page("serving").session_state["serving plan shown"],)
    page = open_page("serving", view="Simulate", simulation=f"{'0' * 30}.{shown[:12]}")
    assert "This simulation is not kept any more" in told(page)


def test_larger_files_than_a_request_may_be_are_refused_with_the_limit(service_url: str) -> None:
    with pytest.raises(Refused, match="larger than 16 MiB"):
        trace.read(Client(service_url), "a.csv", b"x" * (17 << 20))


@pytest.mark.parametrize("name", ["", "..", "a/../b.csv", "x" * 300 + ".csv", "naïve — трафик.csv", "a\nb\x00.csv"])
def test_files_may_have_any_name(service_url: str, name: str) -> None:
    assert len(trace.read(Client(service_url), name, CSV.encode()).arrival_s) == 300


# ---------------------------------------------------------------- without a page

SERVICES = [
    {"name": name, "workload": {"requests_per_s": rate, "distribution": {}}}
    for name, rate in (("chat", 8.0), ("search", 2.0), ("idle", 0.0))
]
PLAN = {
    "id": "0" * 32, "spec": {"services": SERVICES},
    "allocation": [{"unit": "a", "replicas": 1}, {"unit": "b", "replicas": 3}],
}  # fmt: skip
READ = Trace("digest", {"description": "ten"}, np.arange(10.0), np.arange(10) + 5, np.ones(10, dtype=np.int64))


def test_services_without_a_file_are_generated_beside_it() -> None:
    flows = replay.traffic(PLAN, Options(source=FILE, speed=2.0), {"chat": READ})
    assert flows["chat"]["arrival_s"] == [i / 2 for i in range(10)]
    assert flows["chat"]["input_tokens"] == list(range(5, 15))
    assert (flows["search"]["requests_per_s"], flows["search"]["duration_s"]) == (4.0, 4.5)
    assert "idle" not in flows
    assert replay.traffic(PLAN, Options(speed=0.5), {"chat": READ})["chat"]["requests_per_s"] == 4.0


def test_one_replica_of_the_largest_unit_fails() -> None:
    body = replay.request(PLAN, Options(failures="one replica", duration_s=90.0), {})
    assert body["options"]["failures"] == [{"unit": "b", "replica": 0, "at_s": 30.0}]
    assert "failures" not in replay.request(PLAN, Options(), {})["options"]


def test_what_cannot_be_simulated_is_said() -> None:
    assert "Give a file" in replay.why_not(PLAN, Options(source=FILE), {"other": READ})
    assert replay.why_not(PLAN, Options(source=FILE), {"chat": READ}) == ""
    assert "1,000,000 requests" not in replay.why_not(PLAN, Options(duration_s=100_000.0), {})
    assert "2,000,000 requests" in replay.why_not(PLAN, Options(duration_s=200_000.0), {})


def test_tokens_of_a_file() -> None:
    rows = {row["tokens"]: (row["input"], row["output"]) for row in trace.sizes(READ)}
    assert rows == {"mean": (10, 1), "p50": (10, 1), "p95": (14, 1), "p99": (14, 1)}
    assert trace.sizes(Trace("", {}, np.zeros(0), np.zeros(0, dtype=int), np.zeros(0, dtype=int))) == []


def test_the_share_within_a_limit() -> None:
    latency = {"distribution": [(0.0, 10.0), (0.5, 20.0), (1.0, 40.0)]}
    assert [latencies.within(latency, ms) for ms in (5, 10, 15, 20, 30, 40, 50)] == [0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_percentiles_say_whether_limits_are_met() -> None:
    latency = {"mean": 150.0, "p50": 100.0, "p90": 200.0, "p95": 300.0, "p99": 400.0}
    nothing = dict.fromkeys(latency)
    outcome = {"service": "chat", "ttft_ms": latency, "tpot_ms": nothing, "e2e_ms": latency}
    found = {"services": [outcome], "utilisation": [{"relative_error": 0.1}, {"relative_error": 0.3}]}
    slo = {"ttft_ms": 200.0, "tpot_ms": 50.0, "percentile": "p95"}
    ttft, tpot, e2e = latencies.percentiles(found, {"chat": slo})
    assert (ttft["p95"], ttft["limit"], ttft["met"]) == ("300 ms", "200 ms (p95)", "NO")
    assert (tpot["p95"], tpot["met"]) == ("–", "–")
    assert (e2e["limit"], e2e["met"]) == ("–", "–")
    assert "±30%" in ttft["mean"].about
    assert latencies.percentiles(found, {"chat": {**slo, "percentile": "p90"}})[0]["met"] == "yes"


def test_power_is_sent_in_few_points_that_keep_the_mean() -> None:
    power_w = np.random.default_rng(0).uniform(100, 500, 960)
    rows = replayed.power_over_time({"bin_s": 2.5, "power_w": power_w.tolist()})
    assert len(rows) == replayed.MOST_POINTS
    assert rows[1]["minutes"] == 4 * 2.5 / 60
    assert np.mean([row["kW"] for row in rows]) == pytest.approx(power_w.mean() / 1e3)
    assert replayed.power_over_time({"bin_s": 1.0, "power_w": [500.0]}) == [{"minutes": 0.0, "kW": 0.5}]
