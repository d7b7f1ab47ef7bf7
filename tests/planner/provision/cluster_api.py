"""A strict Kubernetes API for tests: server-side apply with owners, dry runs, label selectors, validation, refusals.

A scheduler and a kubelet of its own make pods of Deployments ready as far as the GPUs of ``gpus`` go.
"""

from __future__ import annotations

import copy
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

from tests.planner.provision.applied_fields import Conflicts, Path, document, leaves, merged

TOKEN = "in-test-token"  # noqa: S105
NAMESPACE = "models"
VERSION = "1.31"
PLURALS = {
    "configmaps": ("v1", "ConfigMap"), "services": ("v1", "Service"), "pods": ("v1", "Pod"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"), "deployments": ("apps/v1", "Deployment"),
}  # fmt: skip


class Answer(Exception):
    """A refusal, as a Status object."""

    def __init__(self, status: int, message: str, causes: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": message,
                     "details": {"causes": causes or []}}  # fmt: skip


class ClusterApi:
    """Objects of one namespace. ``gpus``: by instance type, how many pods' GPUs there are (missing: no limit)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[Path, Any]] = {}
        self.owners: dict[tuple[str, str], dict[Path, set[str]]] = {}
        self.kept: dict[tuple[str, str], dict[str, Any]] = {}  # what the server itself writes
        self.gpus: dict[str, int] = {}
        self.refuses: dict[tuple[str, str], tuple[int, str]] = {}  # (kind, "" or "real" for no dry run)
        self.crashing = False
        self.busy = 0  # so many requests more are answered with 503
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                try:
                    with api.lock:
                        status, answer = 200, api.answer(self.command, self.path, self.headers, body)
                except Answer as refusal:
                    status, answer = refusal.status, refusal.body
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PATCH = do_DELETE = do_POST = do_PUT = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig (JSON is YAML) with two contexts."""
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        return json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": TOKEN}}, {"name": "nobody", "user": {"token": "wrong"}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": "me", "namespace": NAMESPACE}},
                {"name": "arn:aws:eks:eu:1:cluster/x", "context": {"cluster": "test", "user": "me"}},
                {"name": "stranger", "context": {"cluster": "test", "user": "nobody", "namespace": NAMESPACE}},
            ],
        })  # fmt: skip

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> dict[str, Any]:
        url = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.requests.append((method, url.path))
        if self.busy:
            self.busy -= 1
            raise Answer(503, "etcdserver: leader changed")
        if headers.get("Authorization", "").lower() != f"bearer {TOKEN}":
            raise Answer(401, "Unauthorized")
        prefix, _, rest = url.path.partition("/namespaces/")
        namespace, plural, *name = rest.split("/")
        if plural not in PLURALS or prefix != _prefix(PLURALS[plural][0]) or len(name) > 1:
            raise Answer(404, "the server could not find the requested resource")
        version, kind = PLURALS[plural]
        if namespace != NAMESPACE:
            if method == "GET" and not name:
                return {"kind": f"{kind}List", "apiVersion": version, "items": []}
            raise Answer(404, f'namespaces "{namespace}" not found')
        if method == "GET":
            return self.listed(kind, version, query) if not name else self.seen(kind, name[0])
        if method == "PATCH" and headers.get("Content-Type") == "application/apply-patch+yaml":
            return self.apply(kind, version, name[0], json.loads(body), query)
        if method == "DELETE":
            return self.delete(kind, name[0], json.loads(body or b"{}"))
        raise Answer(405, f"{method} is not allowed")

    def apply(self, kind: str, version: str, name: str, body: Any, query: dict[str, str]) -> dict[str, Any]:
        dry = query.get("dryRun") == "All"
        if set(query) - {"fieldManager", "force", "dryRun"} or not query.get("fieldManager"):
            raise Answer(400, "fieldManager is required for apply patch")
        metadata = body["metadata"]
        if (body["apiVersion"], body["kind"], metadata["name"], metadata["namespace"]) != (
            version, kind, name, NAMESPACE,
        ):  # fmt: skip
            raise Answer(400, "the object does not match the request")
        for key in ((kind, ""), *(() if dry else ((kind, "real"),))):
            if key in self.refuses:
                raise Answer(*self.refuses[key])
        try:
            kubernetes_validate.validate(body, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Answer(422, f'{kind} "{name}" is invalid: {error.message[:200]}') from None
        key = (kind, name)
        force = query.get("force", "").lower() == "true"
        try:
            after, owners = merged(
                self.objects.get(key, {}), self.owners.get(key, {}), body, query["fieldManager"], force
            )
        except Conflicts as conflicts:
            causes = [{"reason": "FieldManagerConflict", "field": field, "message": f'conflict with "{manager}"'}
                      for field, manager in conflicts.fields]  # fmt: skip
            raise Answer(409, f"Apply failed with {len(causes)} conflicts", causes) from None
        if key in self.objects and kind == "Deployment":
            path = ("spec", "selector")
            if self.objects[key][path] != after[path]:
                raise Answer(422, f'Deployment "{name}" is invalid: spec.selector: field is immutable')
        if not dry:
            changed = self.objects.get(key) != after
            self.objects[key], self.owners[key] = after, owners
            kept = self.kept.setdefault(key, {"uid": str(uuid.uuid4()), "generation": 0, "version": 0})
            kept["generation"] += changed
            kept["version"] += changed
        return self.dressed(key, after)

    def delete(self, kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
        key = (kind, name)
        if key not in self.objects:
            raise Answer(404, f'{kind} "{name}" not found')
        if (kind, "delete") in self.refuses:
            raise Answer(*self.refuses[kind, "delete"])
        uid = (options.get("preconditions") or {}).get("uid")
        if uid is not None and uid != self.kept[key]["uid"]:
            raise Answer(409, "the UID in the precondition does not match")
        for kept in (self.objects, self.owners, self.kept):
            del kept[key]
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def seen(self, kind: str, name: str) -> dict[str, Any]:
        if (kind, name) not in self.objects:
            raise Answer(404, f'{kind} "{name}" not found')
        return self.dressed((kind, name), self.objects[kind, name])

    def listed(self, kind: str, version: str, query: dict[str, str]) -> dict[str, Any]:
        if (kind, "list") in self.refuses:
            raise Answer(*self.refuses[kind, "list"])
        terms = [term.split("=") for term in query.get("labelSelector", "").split(",") if term]
        every = self.pods() if kind == "Pod" else [self.seen(*key) for key in sorted(self.objects) if key[0] == kind]
        items = [item for item in every if all(item["metadata"]["labels"].get(k) == v for k, v in terms)]
        for item in items:
            item.pop("apiVersion", None), item.pop("kind", None)  # as in the lists of the real one
        return {"kind": f"{kind}List", "apiVersion": version, "items": items}

    def dressed(self, key: tuple[str, str], found: dict[Path, Any]) -> dict[str, Any]:
        """An object with its defaults, and with what the server and the controllers write."""
        body = copy.deepcopy(document(found))
        kept = self.kept.get(key, {"uid": "", "generation": 1, "version": 0})
        body["metadata"] |= {"uid": kept["uid"], "resourceVersion": str(kept["version"]),
                             "creationTimestamp": "2026-01-01T00:00:00Z", "generation": kept["generation"],
                             "managedFields": [{"manager": "gpuplan", "operation": "Apply"}]}  # fmt: skip
        if key[0] == "Service":
            body["spec"] |= {"clusterIP": "10.0.0.7", "sessionAffinity": "None"}
        if key[0] == "Deployment":
            body["spec"].setdefault("revisionHistoryLimit", 10)
            pod = body["spec"]["template"]["spec"]
            pod |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}
            for container in pod["containers"]:
                container.setdefault("imagePullPolicy", "IfNotPresent")
            ready = self.running()[key] if key in self.objects and not self.crashing else 0
            replicas = body["spec"]["replicas"]
            body["status"] = {"observedGeneration": kept["generation"], "replicas": replicas,
                              "updatedReplicas": replicas, "readyReplicas": ready}  # fmt: skip
            annotations = body["metadata"].setdefault("annotations", {})
            annotations["deployment.kubernetes.io/revision"] = str(kept["generation"])
        return dict(body)

    def running(self) -> dict[tuple[str, str], int]:
        """Replicas that found GPUs, by Deployment."""
        room, found = dict(self.gpus), {}
        for key in sorted(self.objects):
            if key[0] == "Deployment":
                spec = document(self.objects[key])["spec"]
                pod = spec["template"]["spec"]
                instance_type = pod["nodeSelector"]["node.kubernetes.io/instance-type"]
                each = int(pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
                fit = room.get(instance_type, 10**6) // each
                found[key] = min(spec["replicas"], fit)
                room[instance_type] = room.get(instance_type, 10**6) - found[key] * each
        return found

    def pods(self) -> list[dict[str, Any]]:
        found = []
        for key, ready in self.running().items():
            spec = document(self.objects[key])["spec"]
            for index in range(spec["replicas"]):
                status: dict[str, Any] = {
                    "phase": "Running",
                    "conditions": [{"type": "PodScheduled", "status": "True"}],
                }
                if index >= ready:
                    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
                    failed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
                    status = {"phase": "Pending", "conditions": [failed]}
                elif self.crashing:
                    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
                    status["containerStatuses"] = [{"state": {"waiting": waiting}}]
                labels = dict(spec["template"]["metadata"]["labels"])
                found.append({"metadata": {"name": f"{key[1]}-{index}", "labels": labels}, "status": status})
        return found

    def edit(self, kind: str, name: str, manager: str, change: dict[str, Any]) -> None:
        """As `kubectl edit` by somebody else: what it changes is that manager's from now on."""
        with self.lock:
            key = (kind, name)
            for path, value in leaves(change).items():
                self.objects[key][path] = value
                self.owners[key][path] = {manager}

    def create(self, body: dict[str, Any], manager: str = "kubectl") -> None:
        """An object that somebody else made."""
        with self.lock:
            key = (body["kind"], body["metadata"]["name"])
            self.objects[key] = leaves(body)
            self.owners[key] = {path: {manager} for path in self.objects[key]}
            self.kept[key] = {"uid": str(uuid.uuid4()), "generation": 1, "version": 1}

    def document(self, kind: str, name: str) -> dict[str, Any]:
        with self.lock:
            return dict(document(self.objects[kind, name]))

    def names(self, kind: str) -> set[str]:
        with self.lock:
            return {name for of, name in self.objects if of == kind}


def _prefix(version: str) -> str:
    return f"/api/{version}" if "/" not in version else f"/apis/{version}"
