"""Downloads over HTTP from a server that fails in all the ways that servers do."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reluformer.corpus import CorpusError
from reluformer.corpus import fetch as module
from reluformer.corpus.fetch import download

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes few attempts without pauses, with long timeouts for busy machines."""
    monkeypatch.setattr(module, "ATTEMPTS", 3)
    monkeypatch.setattr(module, "BACKOFF", 0.01)
    monkeypatch.setattr(module, "TIMEOUT", (120.0, 120.0))


class Server(ThreadingHTTPServer):
    """Serves CONTENT; each request uses up one of `faults`, later requests succeed."""

    daemon_threads = True
    faults: list[Callable[[BaseHTTPRequestHandler], None]]
    requests: list[str]
    validator = '"v1"'
    content = CONTENT

    def handle_error(self, *_: object) -> None:
        """Ignores broken connections, which these tests cause."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.requests.append(wanted)
        if self.server.faults:
            self.server.faults.pop(0)(self)
            return
        start = 0
        if wanted and self.headers.get("If-Range") == self.server.validator:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
        self.send_response(206 if start else 200)
        self.headers_and(len(self.server.content) - start)
        self.wfile.write(self.server.content[start:])

    def headers_and(self, length: int) -> None:
        self.send_header("Content-Length", str(length))
        if self.server.validator:
            self.send_header("ETag", self.server.validator)
        self.end_headers()


def status(code: int) -> Callable[[Handler], None]:
    def fault(handler: Handler) -> None:
        handler.send_response(code)
        handler.headers_and(0)

    return fault


def drop(after: int) -> Callable[[Handler], None]:
    """Announces the whole content, sends `after` bytes and closes the connection."""

    def fault(handler: Handler) -> None:
        handler.send_response(200)
        handler.headers_and(len(CONTENT))
        handler.wfile.write(CONTENT[:after])
        handler.wfile.flush()
        handler.connection.close()

    return fault


def hang_up(handler: Handler) -> None:
    handler.connection.close()


def stall(handler: Handler) -> None:
    """Sends a little, then nothing until the client disconnects."""
    handler.send_response(200)
    handler.headers_and(len(CONTENT))
    handler.wfile.write(CONTENT[:1000])
    handler.wfile.flush()
    handler.connection.recv(1)


def trickle(handler: Handler) -> None:
    """Sends slowly but without long gaps, which is not an error."""
    handler.send_response(200)
    handler.headers_and(len(CONTENT))
    for start in range(0, len(CONTENT), 1 << 18):
        handler.wfile.write(CONTENT[start : start + (1 << 18)])
        handler.wfile.flush()
        time.sleep(0.15)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.faults, server.requests = [], []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/file"


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [drop(300_000)],
        [drop(300_000), drop(500_000)],
        [drop(0), hang_up],
        [status(503)],
        [status(503), status(429)],
        [stall],
        [trickle],
    ],
    ids=["good", "drops", "drops twice", "hangs up", "503", "503 and 429", "stalls", "slow"],
)
def test_retries_until_the_file_is_complete(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[Callable[[Handler], None]]
) -> None:
    server.faults = list(faults)  # type: ignore[arg-type]
    if faults in ([stall], [trickle]):
        monkeypatch.setattr(module, "TIMEOUT", (120.0, 0.5))
        monkeypatch.setattr(module, "ATTEMPTS", 100)  # a busy machine may need more attempts
    download(url(server), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_resumes_where_the_connection_broke(server: Server, tmp_path: Path) -> None:
    server.faults = [drop(700_000)]  # type: ignore[list-item]
    download(url(server), tmp_path / "part")
    assert server.requests[0] == ""
    assert int(server.requests[1].removeprefix("bytes=").removesuffix("-")) > 0


def test_resumes_in_a_later_process(server: Server, tmp_path: Path) -> None:
    server.faults = [drop(700_000), status(503), status(503), status(503)]  # type: ignore[list-item]
    with pytest.raises(CorpusError):
        download(url(server), tmp_path / "part")
    have = (tmp_path / "part").stat().st_size
    assert 0 < have <= 700_000
    download(url(server), tmp_path / "part")
    assert server.requests[-1] == f"bytes={have}-"
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_restarts_when_the_file_changed(server: Server, tmp_path: Path) -> None:
    server.faults = [drop(700_000), status(503), status(503), status(503)]  # type: ignore[list-item]
    with pytest.raises(CorpusError):
        download(url(server), tmp_path / "part")
    server.validator, server.content = '"v2"', b"new" * 1000
    download(url(server), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"new" * 1000


@pytest.mark.parametrize("validator", ["", 'W/"weak"'])
def test_restarts_without_a_strong_validator(server: Server, tmp_path: Path, validator: str) -> None:
    server.validator = validator
    server.faults = [drop(700_000)]  # type: ignore[list-item]
    download(url(server), tmp_path / "part")
    assert server.requests == ["", ""]
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_partial_file_of_another_url_is_not_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"something else")
    (tmp_path / "part.json").write_text(json.dumps({"url": "http://other", "validator": '"v1"'}))
    download(url(server), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_status_416_restarts(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT + b"too much")
    (tmp_path / "part.json").write_text(json.dumps({"url": url(server), "validator": '"v1"'}))
    server.faults = [status(416)]  # type: ignore[list-item]
    download(url(server), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "message", "requests"),
    [
        (status(404), "HTTP 404 Not Found", 1),
        (status(403), "HTTP 403 Forbidden", 1),
        (status(503), r"HTTP 503 Service Unavailable \(3 attempts\)", 3),
        (hang_up, r"\(3 attempts\)", 3),
    ],
)
def test_one_clear_error(
    server: Server, tmp_path: Path, fault: Callable[[Handler], None], message: str, requests: int
) -> None:
    server.faults = [fault] * 9  # type: ignore[list-item]
    with pytest.raises(CorpusError, match=f"^{re.escape(url(server))}: .*{message}") as error:
        download(url(server), tmp_path / "part")
    assert "\n" not in str(error.value)
    assert len(server.requests) == requests


def test_no_server_answers(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"3 attempts"):
        download("http://127.0.0.1:9/file", tmp_path / "part")


@pytest.mark.parametrize("wrong", ["not a url", "ftp://127.0.0.1/file"])
def test_not_an_http_url(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(CorpusError, match=wrong):
        download(wrong, tmp_path / "part")
