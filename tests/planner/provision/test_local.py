"""The local target: real processes, capacity, shortage, drift; and files that others put there."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from planner import audit
from planner.errors import FailedCheck, InvalidInput, ProvisioningFailed
from planner.provision import store
from planner.provision.apply import How, apply_plan, roll_back, withdraw, would_change
from planner.provision.driver import Driver, Refused
from planner.provision.local import local_driver
from planner.provision.status import status
from planner.serving.plan import ServingPlan
from tests.planner.provision.plans import CHEAPEST, OTHER

HOW = How("test", wait_s=30)
NOW = replace(HOW, wait_s=0.5)
Plans = tuple[ServingPlan, ServingPlan, ServingPlan]


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/replicas/*/*.json"))]


def get(port: object, path: str) -> dict[str, object]:
    connection = HTTPConnection("127.0.0.1", int(str(port)), timeout=5)
    try:
        connection.request("GET", path)
        return dict(json.load(connection.getresponse()))
    finally:
        connection.close()


def running(pid: object) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ended(pid: object) -> bool:
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(pid)


def test_replicas_are_processes_that_answer_and_go(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    applied = apply_plan(filled, here, plans[1], "chat", HOW)
    assert [unit.ready for unit in applied.units] == [row.replicas for row in plans[1].allocation]
    found = records(folder)
    assert len(found) == sum(row.replicas for row in plans[1].allocation)
    for record in found:
        assert get(record["port"], "/health")["status"] == "ok"
        assert get(record["port"], "/v1/models")["data"][0]["id"] == "meta-llama/Llama-3.1-8B-Instruct"  # type: ignore[index]
    assert status(filled, here, "chat").as_planned
    assert apply_plan(filled, here, plans[1], "chat", HOW).deployment.id == applied.deployment.id
    withdraw(filled, here, "chat", "test")
    assert all(ended(record["pid"]) for record in found)
    assert here.actual("chat") == {}
    actions = [(entry.action, entry.subject, entry.actor) for entry in reversed(audit.entries(filled))]
    assert [action for action, _, _ in actions] == ["deployment.apply", "deployment.applied", "deployment.remove",
                                                    "deployment.removed"]  # fmt: skip
    assert {(subject, actor) for _, subject, actor in actions} == {("chat", "test")}


def test_a_killed_replica_is_noticed_and_comes_back(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    apply_plan(filled, here, plans[0], "chat", HOW)
    (before,) = records(folder)
    os.kill(int(str(before["pid"])), signal.SIGKILL)
    assert ended(before["pid"])
    assert [unit.ready for unit in here.ready("chat")] == [1]
    (after,) = records(folder)
    assert after["replica"] != before["replica"]


def test_a_process_that_took_over_the_port_is_not_taken_for_a_replica(
    filled: Engine, here: Driver, folder: Path, plans: Plans
) -> None:
    apply_plan(filled, here, plans[0], "one", HOW)
    apply_plan(filled, here, plans[0], "two", HOW)
    (ones,) = (folder / "one").glob("replicas/*/*.json")
    (twos,) = (folder / "two").glob("replicas/*/*.json")
    record, other = json.loads(ones.read_text()), json.loads(twos.read_text())
    ones.write_text(json.dumps({**record, "replica": "another", "port": other["port"]}))
    assert ended(record["pid"])
    assert [unit.ready for unit in here.ready("one")] == [1]
    assert not ones.exists()
    assert running(other["pid"])


def test_capacity_limits_what_starts_over_all_names(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    folder.mkdir()
    (folder / "capacity.json").write_text(json.dumps({OTHER: 5}))
    large = plans[2]
    apply_plan(filled, here, large, "one", HOW)
    with pytest.raises(ProvisioningFailed, match=f"1 of 4 .there are only 5 instances of {OTHER}"):
        apply_plan(filled, here, large, "two", NOW)
    (folder / "capacity.json").write_text(json.dumps({OTHER: 4}))
    assert [unit.ready for unit in here.ready("one")] == [4]
    assert [unit.ready for unit in here.ready("two")] == [0]


def test_shortage_falls_back_to_another_type_and_says_so(
    filled: Engine, here: Driver, folder: Path, plans: Plans
) -> None:
    folder.mkdir()
    (folder / "capacity.json").write_text(json.dumps({CHEAPEST: 0}))
    applied = apply_plan(filled, here, plans[1], "chat", replace(NOW, fallback=True))
    assert CHEAPEST not in {row.instance_type for row in applied.plan.allocation}
    limits = applied.plan.spec.limits.availability
    assert [(limit.instance_type, limit.max_instances) for limit in limits] == [(CHEAPEST, 0)]
    assert f"0 of 2 {CHEAPEST} (aws/us-east-1/on_demand)" in applied.notes[0]
    assert "USD/h; this one costs " in applied.notes[0]
    first, second = store.history(filled, "chat")
    assert (first.state, second.state, second.reason) == ("failed", "applied", applied.notes[0])
    assert status(filled, here, "chat").as_planned


def test_a_part_that_came_up_counts(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    folder.mkdir()
    (folder / "capacity.json").write_text(json.dumps({OTHER: 2}))
    applied = apply_plan(filled, here, plans[2], "chat", replace(NOW, fallback=True))
    assert {row.instance_type: row.replicas for row in applied.plan.allocation}.get(OTHER, 0) <= 2
    assert f"2 of 4 {OTHER}" in applied.notes[0]


def test_where_nothing_else_fits_what_came_up_is_kept(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    small, _, large = plans
    apply_plan(filled, here, small, "chat", HOW)
    before = here.actual("chat")
    (folder / "capacity.json").write_text(json.dumps({OTHER: 0, CHEAPEST: 1}))
    limited = small.spec.limits.model_validate({"availability": [{"max_instances": 0, "instance_type": CHEAPEST}]})
    bound = large.spec.model_copy(update={"limits": limited})
    only = large.model_copy(update={"spec": bound})
    with pytest.raises(ProvisioningFailed, match=r"Nothing was removed.*Nothing else serves this request"):
        apply_plan(filled, here, only, "chat", replace(NOW, fallback=True))
    assert {key: here.actual("chat")[key] for key in before} == before
    assert [unit.ready for unit in here.ready("chat") if CHEAPEST in unit.unit] == [1]
    roll_back(filled, here, "chat", HOW)
    assert here.actual("chat") == before


def test_without_waiting_everything_changes_at_once(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    folder.mkdir()
    (folder / "capacity.json").write_text(json.dumps({OTHER: 0}))
    apply_plan(filled, here, plans[0], "chat", replace(HOW, wait_s=0))
    applied = apply_plan(filled, here, plans[2], "chat", replace(HOW, wait_s=0))
    assert applied.deployment.state == "applied"
    assert {unit.unit for unit in here.ready("chat")} == {row.unit for row in plans[2].allocation}


def test_rollbacks_go_further_back(filled: Engine, here: Driver, plans: Plans) -> None:
    for plan in plans:
        apply_plan(filled, here, plan, "chat", HOW)
    assert roll_back(filled, here, "chat", HOW).plan == plans[1]
    assert roll_back(filled, here, "chat", HOW).plan == plans[0]
    assert status(filled, here, "chat").as_planned


def test_a_plan_that_does_not_hold_is_refused(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    row = plans[0].allocation[0]
    cheaper = plans[0].model_copy(update={"allocation": (row.model_copy(update={"usd_per_hour": 0.01}),)})
    with pytest.raises(FailedCheck, match="does not hold and is not applied"):
        apply_plan(filled, here, cheaper, "chat", HOW)
    infeasible = plans[0].model_copy(update={"outcome": "infeasible"})
    with pytest.raises(InvalidInput, match="nothing to apply"):
        apply_plan(filled, here, infeasible, "chat", HOW)
    assert not folder.exists()
    assert store.history(filled, "chat") == ()


def test_files_of_others_are_left(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    objects = folder / "chat" / "objects"
    objects.mkdir(parents=True)
    (objects / "Router.routes.json").write_text('{"mine": true}')
    (objects / "notes.txt").write_text("mine")
    with pytest.raises(ProvisioningFailed, match="was not made by gpuplan"):
        apply_plan(filled, here, plans[0], "chat", HOW)
    with pytest.raises(Refused):
        here.put("chat", here.desired(plans[0], "chat")["Router/routes"], True)
    here.remove("chat", "Router/routes")
    (objects / "Router.routes.json").rename(objects / "mine.json")
    apply_plan(filled, here, plans[0], "chat", HOW)
    withdraw(filled, here, "chat", "test")
    assert {path.name for path in objects.iterdir()} == {"mine.json", "notes.txt"}


@pytest.mark.parametrize("spec", ["{}", '{"replicas": "many"}', "[]", '{"replicas": -1}', "null", '{"replicas": 1e9}'])
def test_nonsense_written_into_an_object_is_drift_and_repaired(
    filled: Engine, here: Driver, folder: Path, plans: Plans, spec: str
) -> None:
    apply_plan(filled, here, plans[0], "chat", HOW)
    (path,) = (folder / "chat" / "objects").glob("Unit.*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "spec": json.loads(spec)}))
    found = status(filled, here, "chat")
    assert not found.as_planned
    assert [change.key.partition("/")[0] for change in found.drift] == ["Unit"]
    apply_plan(filled, here, plans[0], "chat", HOW)
    assert status(filled, here, "chat").as_planned


@pytest.mark.parametrize("text", ["", "[]", '{"g6.xlarge": -1}', "[" * 100_000, "\0", '{"g6.xlarge": 1.5}'])
def test_a_capacity_that_cannot_be_meant(here: Driver, folder: Path, plans: Plans, text: str) -> None:
    folder.mkdir()
    (folder / "capacity.json").write_text(text)
    with pytest.raises(InvalidInput, match="whole numbers"):
        here.ready("chat")


def test_a_unit_that_others_remove_meanwhile_gets_no_traffic(filled: Engine, here: Driver, plans: Plans) -> None:
    apply_plan(filled, here, plans[0], "chat", HOW)
    routes = here.actual("chat")["Router/routes"]

    def removed_at_once(name: str, document: dict[str, Any], take_over: bool) -> None:
        here.put(name, document, take_over)
        here.remove(name, f"{document['kind']}/{document['name']}")

    unlucky = replace(here, put=removed_at_once)
    with pytest.raises(ProvisioningFailed, match=r"Others removed Unit/.* meanwhile.*Nothing was removed"):
        apply_plan(filled, unlucky, plans[2], "chat", HOW)
    assert here.actual("chat")["Router/routes"] == routes
    apply_plan(filled, here, plans[2], "chat", HOW)
    assert status(filled, here, "chat").as_planned


def test_too_many_processes_are_refused_before_anything_starts(
    filled: Engine, here: Driver, folder: Path, plans: Plans
) -> None:
    document = next(iter(here.desired(plans[0], "chat").values()))
    many = {**document, "spec": {**document["spec"], "replicas": 10_000}}
    assert "more processes" in here.preview("chat", many, False).obstacle
    with pytest.raises(Refused):
        here.put("chat", many, False)
    assert records(folder) == []


@pytest.mark.parametrize(
    "name", ["../../out", "a/b", "$(touch x)", "{{ x }}", "a\nb", "..", "x" * 300, "naïve", "'\"`", "a\0b", "-c"]
)
def test_names_in_a_spec_stay_inside_the_folder(filled: Engine, tmp_path: Path, plans: Plans, name: str) -> None:
    small = plans[0]
    service = small.spec.services[0].model_copy(update={"name": name})
    (row,) = small.allocation
    assert row.layout is not None
    layout = row.layout.model_copy(update={"model": name})
    row = row.model_copy(update={"unit": f"{name}/unit", "service": name, "layout": layout})
    routes = tuple(route.model_copy(update={"unit": row.unit, "service": name}) for route in small.routing)
    spec = small.spec.model_copy(update={"name": name, "services": (service,)})
    odd = small.model_copy(update={"spec": spec, "allocation": (row,), "routing": routes})
    root = tmp_path / "deep" / "inside" / "root"
    driver = local_driver(root)
    before = set(tmp_path.rglob("*"))
    for document in driver.desired(odd, "chat").values():
        driver.put("chat", document, False)
    new = {path for path in tmp_path.rglob("*") if path not in before}
    assert {path for path in new if root not in (path, *path.parents)} <= {root.parent, root.parent.parent}
    assert [(unit.unit, unit.ready) for unit in driver.ready("chat")] == [(row.unit, row.replicas)]
    for key in driver.actual("chat"):
        driver.remove("chat", key)
    for bad in ("../x", "", "a/b"):
        with pytest.raises(InvalidInput):
            driver.actual(bad)


def test_a_folder_that_cannot_be_written(filled: Engine, tmp_path: Path, plans: Plans) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProvisioningFailed):
        apply_plan(filled, local_driver(tmp_path / "file" / "below"), plans[0], "chat", HOW)
    assert store.history(filled, "chat")[-1].state == "failed"


def test_previews_change_nothing(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    assert len(would_change(filled, here, plans[1], "chat")) == len(here.desired(plans[1], "chat"))
    assert not folder.exists()
    assert store.history(filled, "chat") == ()
