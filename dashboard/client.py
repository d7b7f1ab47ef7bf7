"""The REST service as functions. Documents are plain JSON values; what goes wrong is a ``ServiceError``."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx

Document = dict[str, Any]

TIMEOUT_S = 70.0
"""Longer than the service lets anybody wait (60 s)."""

FIRST_WAIT_S, POLL_S = 1, 0.25
"""A request waits for its answer first, then asks again and again, so that the page can be left meanwhile."""

UNDER_WAY = ("queued", "running")
"""Statuses of a job that has no answer yet. What a job leads to says so with 202; the job itself always with 200."""

_OF_PROXIES = (502, 503, 504)
"""Statuses that what stands before a service answers, not in JSON, while the service is away."""


class ServiceError(Exception):
    """Something that the service did not do, in words for people."""

    def __init__(self, title: str, detail: str, fix: str = "") -> None:
        super().__init__(detail)
        self.title, self.detail, self.fix = title, detail, fix


class Unreachable(ServiceError):
    """Nobody answers, or not as the service would."""


class Refused(ServiceError):
    """The service said no: ``problem`` is its RFC 9457 document."""

    def __init__(self, problem: Document) -> None:
        super().__init__(problem.get("title", "refused"), problem.get("detail", ""), problem.get("fix") or "")
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.problem.get("status", 0))

    @property
    def field(self) -> str:
        """Path of what is wrong in what was sent; empty where it is nothing in particular."""
        return self.problem.get("field") or ""

    @property
    def mistakes(self) -> list[Document]:
        """``{field, detail}`` of each mistake, where there are several."""
        return list(self.problem.get("errors", ()))


@dataclass(frozen=True)
class Answer:
    """What came back: ``document`` is its JSON, ``etag`` its version where it has one."""

    status: int
    document: Document
    etag: str = ""
    location: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a job is, a share of 1."""

    share: float
    label: str
    job_id: str


@dataclass(frozen=True)
class Client:
    """A service and the key to it. Every method raises ``Unreachable`` or ``Refused``."""

    url: str
    key: str = field(default="", repr=False)

    def get(self, path: str, **query: str | int | None) -> Document:
        """The document at a path."""
        return self.read(path, **query).document

    def read(self, path: str, **query: str | int | None) -> Answer:
        """The document at a path, with its version."""
        return _answer(self._send("GET", path, params=_given(query)))

    def content(self, path: str, accept: str, **query: str | int | None) -> bytes:
        """What is at a path, in another media type than JSON."""
        return self._send("GET", path, params=_given(query), headers={"Accept": accept}).content

    def post(self, path: str, body: Document, wait_s: int = 10) -> Answer:
        """Ask for something: 201 with it, or 202 with the job that makes it."""
        return _answer(self._send("POST", path, json=body, headers={"Prefer": f"wait={wait_s}"}))

    def put(self, path: str, body: Document, if_match: str = "") -> Answer:
        """Write a document; with ``if_match`` only over the version that was read."""
        headers = {"If-Match": if_match} if if_match else {"If-None-Match": "*"}
        return _answer(self._send("PUT", path, json=body, headers=headers))

    def upload(self, path: str, content: bytes, **query: str | int | None) -> Answer:
        """Send a file as the body."""
        headers = {"Content-Type": "application/octet-stream"}
        return _answer(self._send("POST", path, content=content, params=_given(query), headers=headers))

    def delete(self, path: str, if_match: str = "") -> None:
        """Remove or cancel what is at a path."""
        self._send("DELETE", path, headers={"If-Match": if_match} if if_match else {})

    def make(self, path: str, body: Document) -> Generator[Progress | Document]:
        """Ask for something that takes a while: progress again and again, then the document.

        Whoever stops asking cancels the job.
        """
        answer = self.post(path, body, FIRST_WAIT_S)
        where = answer.location
        try:
            while answer.document.get("status") in UNDER_WAY:
                job = answer.document
                yield Progress(job["progress"], job["progress_label"], job["id"])
                time.sleep(POLL_S)
                answer = self.read(where)
        finally:
            if answer.document.get("status") in UNDER_WAY:
                self._cancel(answer.document["id"])
        ended = answer.document
        if ended.get("status") == "cancelled":
            raise Refused(
                {"status": 409, "title": "cancelled", "detail": "somebody cancelled this", "fix": "ask again"}
            )
        if ended.get("status") == "failed":
            raise Refused(ended["problem"] or {"title": "failed", "detail": "the job failed", "status": 500})
        yield ended

    def _cancel(self, job_id: str) -> None:
        try:
            self.delete(f"/v1/jobs/{job_id}")
        except ServiceError:  # it may have ended just now; if not, it ends at its time limit
            return

    def _send(self, method: str, path: str, headers: dict[str, str] | None = None, **sent: Any) -> httpx.Response:
        if not (self.key.isascii() and self.key.isprintable()):  # never in a header, whose errors would show the key
            raise Refused({"status": 401, "title": "no key", "detail": "this key has characters that no key has"})
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            response = _pool(self.url).request(method, path, headers={**authorization, **(headers or {})}, **sent)
        except httpx.TimeoutException:
            raise Unreachable("The service takes too long", f"{self.url} gave no answer in {TIMEOUT_S:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise Unreachable(
                "The service cannot be reached", f"{self.url}: {error or type(error).__name__}",
                fix="start it with `gpuplan serve`; this page goes on by itself when it is back",
            ) from None  # fmt: skip
        is_proxy = response.status_code in _OF_PROXIES and "json" not in response.headers.get("content-type", "")
        if is_proxy or response.has_redirect_location:
            raise Unreachable("This is not gpuplan", f"{self.url} answered {response.status_code}",
                              fix="check its address; this page goes on when it is back")  # fmt: skip
        if response.status_code >= 400:
            raise Refused(_problem(response))
        return response


@cache
def _pool(url: str) -> httpx.Client:
    """Connections to a service; threads share them. No proxy leads to this machine itself."""
    near = httpx.URL(url).host in ("localhost", "127.0.0.1", "::1")
    return httpx.Client(
        base_url=url, timeout=TIMEOUT_S, trust_env=not near, headers={"User-Agent": "gpuplan-dashboard"}
    )


def _given(query: dict[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in query.items() if value is not None}


def _answer(response: httpx.Response) -> Answer:
    try:
        document = response.json() if response.content else {}
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise Unreachable("This is not gpuplan", f"{response.url} answered something that is not JSON",
                          fix="check the service's address") from None  # fmt: skip
    if not isinstance(document, dict):
        raise Unreachable("This is not gpuplan", f"{response.url} answered JSON that is no object",
                          fix="check the service's address")  # fmt: skip
    headers = response.headers
    return Answer(response.status_code, document, headers.get("etag", ""), headers.get("location", ""))


def _problem(response: httpx.Response) -> Document:
    try:
        problem = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("title"), str):
        return {**problem, "status": response.status_code}
    reason = response.reason_phrase or "refused"
    return {
        "status": response.status_code,
        "title": reason,
        "detail": f"{response.url} answered {response.status_code}",
    }
