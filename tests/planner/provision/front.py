"""A server in front of a real Kubernetes API: it can end a client at one of its writes, and helps old servers.

Servers before 1.21 know disruption budgets as ``policy/v1beta1``: what goes there and comes back is translated.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEPT = ("Content-Type", "Accept")
OLD, NEW = b"policy/v1beta1", b"policy/v1"


class Front:
    """Hands requests on to the API of ``client``.

    ``at_write(number, when)`` is called ``before`` and ``after`` each write; ``ConnectionError`` there drops it.
    """

    def __init__(self, client: Any, *, old: bool) -> None:
        self.writes = 0
        self.at_write: Callable[[int, str], None] = lambda *_: None
        front = self
        credentials = {each["key"]: each["value"] for each in client.configuration.auth_settings().values()}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path
                if old:
                    path = path.replace("/apis/policy/v1/", "/apis/policy/v1beta1/")
                    body = body.replace(b'"%b"' % NEW, b'"%b"' % OLD)
                writes = self.command != "GET" and "dryRun" not in path
                if writes:
                    front.writes += 1
                    front.at_write(front.writes, "before")
                headers = {key: self.headers[key] for key in KEPT if key in self.headers} | credentials
                url = client.configuration.host + path
                answer = client.rest_client.pool_manager.request(self.command, url, body=body or None, headers=headers)
                if writes:
                    front.at_write(front.writes, "after")
                text = answer.data.replace(b'"%b"' % OLD, b'"%b"' % NEW) if old else answer.data
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True  # the client was ended

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kubeconfig(self, namespace: str) -> str:
        """A kubeconfig (JSON is YAML) that leads here."""
        return json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "real",
            "clusters": [{"name": "real", "cluster": {"server": f"http://127.0.0.1:{self.server.server_address[1]}"}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "me", "namespace": namespace}}],
        })  # fmt: skip

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
