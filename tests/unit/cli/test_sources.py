"""Sources that answer, refuse or are unreachable: a local server and a closed port."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from reluformer.cli.checks import check_corpus, try_pip, try_url
from reluformer.config.dataset import ArchiveConfig


@pytest.fixture(scope="module")
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path == "/there" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def closed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_why_a_url_does_not_answer(server, closed, monkeypatch):
    assert try_url(f"{server}/there") == ""
    assert try_url(f"{server}/gone") == "HTTP 404 Not Found"
    assert try_url(closed) == "ConnectionError"
    monkeypatch.setenv("http_proxy", closed)
    assert try_url("http://example.invalid/a") == "ProxyError"


def test_each_corpus_has_one_line(server, closed, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "here.gz").write_bytes(b"x")
    here = ArchiveConfig(name="here.gz", urls=[closed])
    corpora = {
        "local": ([here], True),
        "mirrored": ([here, ArchiveConfig(name="a", urls=[f"{closed}/a", f"{server}/there"])], True),
        "lost": ([ArchiveConfig(name="b", urls=[f"{server}/gone", closed])], True),
        "own": ([ArchiveConfig(name="c")], False),
    }
    local, mirrored, lost, own = (check_corpus(name, *corpus, [tmp_path]) for name, corpus in corpora.items())
    assert (local.state, mirrored.state, lost.state, own.state) == ("ok", "ok", "missing", "missing")
    assert f"in {tmp_path / 'deep'}" == local.detail and f"{server}/there answers" in mirrored.detail
    assert lost.needed and "HTTP 404" in lost.detail and "download b elsewhere" in lost.fix
    assert not own.needed and "c has no URL" in own.detail


def test_pip_is_asked_for_the_version(closed, monkeypatch, tmp_path):
    archive = ArchiveConfig(name="a", pip="left-pad==1.0")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, closed)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert try_pip(archive) == "no connection to pip's index"
