"""An endpoint that cannot be measured is told from one that can, before anything is sent to it."""

import socket
import threading

import pytest

from profiles.errors import InvalidInput, UnknownName
from profiles.measure.target import Target
from tests.profiles.measure.conftest import MODEL, Endpoint


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_a_good_endpoint_is_greeted_with_and_without_v1(endpoint: Endpoint, path: str) -> None:
    target = Target(endpoint.url + path, MODEL)
    target.greet()
    assert target.base == endpoint.url


def test_the_key_is_sent_and_shown_nowhere(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.key = "sk-very-secret"
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    target = Target(endpoint.url, MODEL, "MY_KEY")
    target.greet()
    assert "secret" not in repr(target)
    monkeypatch.setenv("MY_KEY", "sk-wrong-secret")
    with pytest.raises(InvalidInput, match="refuses the API key") as error:
        target.greet()
    assert "secret" not in str(error.value)
    with pytest.raises(InvalidInput, match="wants an API key"):
        Target(endpoint.url, MODEL).greet()


def test_a_key_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InvalidInput, match="MY_KEY is not set"):
        Target("http://localhost:1", MODEL, "MY_KEY")


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host/", "http://", "http://host:port", "http://[::1", "file:///etc/passwd",
            "http://user:pass@host", "http://host?key=1"],
)  # fmt: skip
def test_urls_that_cannot_be_meant(url: str) -> None:
    with pytest.raises(InvalidInput) as error:
        Target(url, MODEL)
    assert "pass@" not in str(error.value)


def test_a_wrong_model_is_named_with_the_right_one(endpoint: Endpoint) -> None:
    with pytest.raises(UnknownName, match="it serves tiny"):
        Target(endpoint.url, "tinny").greet()


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"data": 3}', b'{"data": [1]}', b"\xff\xfe", b"[" * 100_000])
def test_answers_that_are_no_list_of_models(endpoint: Endpoint, body: bytes) -> None:
    endpoint.models = body
    with pytest.raises(InvalidInput, match="no OpenAI-compatible endpoint"):
        Target(endpoint.url, MODEL).greet()


@pytest.mark.parametrize(("status", "said"), [(404, r"\(404\)"), (500, "status 500"), (403, "wants an API key")])
def test_statuses(endpoint: Endpoint, status: int, said: str) -> None:
    endpoint.models_status = status
    with pytest.raises(InvalidInput, match=said):
        Target(endpoint.url, MODEL).greet()


def test_nobody_there_and_nobody_answering() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(InvalidInput, match="cannot be reached"):
            Target(f"http://127.0.0.1:{port}", MODEL).greet(timeout_s=0.2)
    with pytest.raises(InvalidInput, match="refused"):
        Target(f"http://127.0.0.1:{port}", MODEL).greet()


def test_a_server_of_something_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(InvalidInput, match="cannot be reached"):
            Target(f"http://127.0.0.1:{other.getsockname()[1]}", MODEL).greet(timeout_s=2)
