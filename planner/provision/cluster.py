"""Requests to a Kubernetes API, by the official client: where it is, its answers as JSON, its refusals as errors."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from planner.errors import InvalidInput, ProvisioningFailed
from planner.provision.driver import Unreachable

TIMEOUT_S = (5.0, 30.0)
"""To connect, and to wait for an answer; the server itself gives up after 60 s, webhooks after at most 30."""

RETRIES = 3
"""Of a request that the server was too busy for; every request here can be repeated."""

IN_CLUSTER = "in-cluster"
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

Request = Callable[..., dict[str, Any]]
"""``request(method, path, body, **query)``: the answer as JSON; raises ``Refusal`` or ``Unreachable``."""


class Refusal(Exception):
    """The server said no. ``fields``: what conflicts, by path, and with whom."""

    def __init__(self, status: int, message: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status, self.message, self.fields = status, message, fields


@dataclass(frozen=True)
class Cluster:
    """One namespace of one cluster. ``name`` is ``CONTEXT/NAMESPACE``."""

    name: str
    namespace: str
    request: Request


def cluster_at(where: str) -> Cluster:
    """The cluster and namespace that ``CONTEXT/NAMESPACE`` names; what is missing is the kubeconfig's default.

    The kubeconfig is the one that ``KUBECONFIG`` names, or ``~/.kube/config``; inside a pod without one, it is the
    pod's own cluster.

    Raises
    ------
    InvalidInput
        If there is no such context, no kubeconfig, or the client is not installed.
    """
    try:
        config: Any = import_module("kubernetes.config")
    except ImportError:
        raise InvalidInput("the kubernetes client is not installed", field="target",
                           fix="pip install 'gpuplan[kubernetes]'") from None  # fmt: skip
    # The client checks a kubeconfig's fields only as it trips over them.
    unreadable = (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, KeyError)
    try:
        contexts, active = config.list_kube_config_contexts()
        known = {context["name"]: context.get("context", {}) for context in contexts}
    except unreadable as error:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            return _in_cluster(where)
        raise InvalidInput(f"no kubeconfig can be read ({error})", field="target",
                           fix="set KUBECONFIG to the path of one") from None  # fmt: skip
    context, namespace = _context_and_namespace(where or active["name"], known)
    namespace = _checked_namespace(namespace or known[context].get("namespace") or "default")
    try:
        client = config.new_client_from_config(context=context, persist_config=False)
    except unreadable as error:
        raise InvalidInput(f"context {context!r} cannot be used ({error})", field="target",
                           fix="correct it in the kubeconfig") from None  # fmt: skip
    return Cluster(f"{context}/{namespace}", namespace, _requests(client))


def _context_and_namespace(where: str, known: dict[str, Any]) -> tuple[str, str]:
    if where in known:  # names of contexts may hold slashes, as those of EKS do
        return where, ""
    context, _, namespace = where.rpartition("/")
    if context not in known:
        raise InvalidInput(f"no context {where!r} in the kubeconfig", field="target",
                           fix=f"contexts: {', '.join(sorted(known))}")  # fmt: skip
    return context, namespace


def _checked_namespace(namespace: object) -> str:
    """It becomes a part of paths."""
    if not _NAMESPACE.fullmatch(str(namespace)):
        raise InvalidInput(f"{str(namespace)[:80]!r} cannot name a namespace", field="target",
                           fix="use lower-case letters, digits and hyphens: kubernetes:CONTEXT/NAMESPACE")  # fmt: skip
    return str(namespace)


def _in_cluster(where: str) -> Cluster:
    config: Any = import_module("kubernetes.config")
    client: Any = import_module("kubernetes.client")
    try:
        config.load_incluster_config()
        namespace = where.partition("/")[2] or _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError) as error:
        raise InvalidInput(f"this pod has no access to its cluster ({error})", field="target",
                           fix="give it a service account") from None  # fmt: skip
    namespace = _checked_namespace(namespace)
    return Cluster(f"{IN_CLUSTER}/{namespace}", namespace, _requests(client.ApiClient()))


def _requests(client: Any) -> Request:
    from urllib3 import Retry, disable_warnings
    from urllib3.exceptions import HTTPError, InsecureRequestWarning

    refused: Any = import_module("kubernetes.client.exceptions").ApiException
    dynamic: Any = import_module("kubernetes.dynamic")
    if not client.configuration.verify_ssl:
        disable_warnings(InsecureRequestWarning)  # the kubeconfig asks for it; one line per request helps nobody
    client.configuration.retries = Retry(
        total=RETRIES, backoff_factor=0.2, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None,
        raise_on_status=False, respect_retry_after_header=True,
    )  # fmt: skip
    client = type(client)(client.configuration)  # the pool of connections takes its retries when it is made
    # Paths are known, so nothing need be discovered: that would cost requests, and a cache in a shared folder.
    raw = dynamic.DynamicClient(client, discoverer=lambda *_: None)

    def request(method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        try:
            answer = raw.request(method, path, body=body, serialize=False, _request_timeout=TIMEOUT_S, **query)
            return dict(json.loads(answer.data))
        except refused as error:
            raise _refusal(error.status, error.body) from None
        except (HTTPError, OSError) as error:
            why = getattr(error, "reason", None) or error  # of the last try
            raise Unreachable(f"{client.configuration.host} does not answer ({why})") from None
        except ValueError:
            raise ProvisioningFailed(f"{client.configuration.host} does not answer as Kubernetes does") from None

    return request


def _refusal(status: int, body: Any) -> Exception:
    try:
        said = json.loads(body)
        message = str(said.get("message") or said.get("reason"))
        causes = (said.get("details") or {}).get("causes") or ()
    except (TypeError, ValueError, AttributeError):
        message, causes = f"status {status}", ()
    if status == 401 or "system:anonymous" in message:  # as where a kubeconfig's plugin for credentials failed
        return ProvisioningFailed("the cluster does not know who asks", fix="renew the kubeconfig's credentials")
    if status >= 500 or status == 429:
        return Unreachable(f"the cluster cannot answer now: {message}")
    conflicts = tuple((str(cause.get("field", "")).removeprefix("."), str(cause.get("message", "")))
                      for cause in causes if cause.get("reason") == "FieldManagerConflict")  # fmt: skip
    return Refusal(status, message, conflicts)
