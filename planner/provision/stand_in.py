"""A replica of the local target: a process that answers as an inference server does, without a model or a GPU.

Run as ``python stand_in.py RECORD``: it listens on a free loopback port, writes port and process id into the JSON file
RECORD, which names its replica and model, and lives as long as that file says so. Only the standard library, so that it
starts at once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOOK_EVERY_S = 0.2
"""How soon a replica ends after its record went."""


def main(record: Path) -> None:
    """Serve until ``record`` is gone or names another replica."""
    said = json.loads(record.read_text())
    replica = said["replica"]
    answers = {
        "/health": {"status": "ok", "replica": replica},
        "/v1/models": {"object": "list", "data": [{"id": said["model"], "object": "model", "owned_by": "gpuplan"}]},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            body = json.dumps(found or {"error": "not found"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    beside = record.with_suffix(".part")
    beside.write_text(json.dumps(said | {"pid": os.getpid(), "port": server.server_address[1]}))
    if _is_of(record, replica):  # taken away while this process started: it must not come back
        beside.replace(record)
    while _is_of(record, replica):
        time.sleep(LOOK_EVERY_S)
    beside.unlink(missing_ok=True)


def _is_of(record: Path, replica: str) -> bool:
    try:
        return bool(json.loads(record.read_text())["replica"] == replica)
    except (OSError, ValueError, KeyError):
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
