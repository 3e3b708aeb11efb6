from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reluformer.config.dataset import ArchiveConfig
from reluformer.corpus import CorpusError
from reluformer.corpus import fetch as module
from reluformer.corpus.fetch import download, fetch

GOOD = b"the published file\n"
SHA = hashlib.sha256(GOOD).hexdigest()
URLS = ["http://one.invalid/file", "http://two.invalid/file"]


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | None]:
    """The content that each URL serves; None is an error."""
    served: dict[str, bytes | None] = {}

    def download(url: str, part: Path) -> None:
        content = served[url]
        if content is None:
            raise CorpusError(f"{url}: HTTP 404 Not Found")
        part.write_bytes(content)

    monkeypatch.setattr(module, "download", download)
    return served


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_first_mirror(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    mirrors[URLS[0]] = GOOD
    path = fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path / "r", None)
    assert path == tmp_path / "r" / "file"
    assert path.read_bytes() == GOOD
    assert names(tmp_path / "r") == ["file"]


@pytest.mark.parametrize("first", [None, b"another file"])
def test_next_mirror_after_an_error_or_another_file(
    tmp_path: Path, mirrors: dict[str, bytes | None], first: bytes | None
) -> None:
    mirrors |= dict(zip(URLS, (first, GOOD), strict=True))
    assert fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path, None).read_bytes() == GOOD


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Moved</title>", b"\n<HTML>\nPlease log in\n"])
def test_a_web_page_is_no_archive_and_its_checksum_is_not_trusted(
    tmp_path: Path, mirrors: dict[str, bytes | None], page: bytes
) -> None:
    mirrors |= dict(zip(URLS, (page, GOOD), strict=True))
    assert fetch(ArchiveConfig(name="file", urls=URLS), tmp_path, None).read_bytes() == GOOD
    assert (tmp_path / "file.sha256").read_text() == f"{SHA}  file\n"
    with pytest.raises(CorpusError, match=r"one\.invalid/file: a web page in place of file\.txt"):
        fetch(ArchiveConfig(name="file.txt", urls=URLS[:1]), tmp_path, None)
    assert fetch(ArchiveConfig(name="file.html", urls=URLS[:1]), tmp_path, None).read_bytes() == page


def test_no_mirror_has_it(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    mirrors |= dict(zip(URLS, (None, b"another file"), strict=True))
    with pytest.raises(CorpusError) as error:
        fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path, None)
    message = str(error.value)
    assert "one.invalid/file: HTTP 404" in message and f"expected {SHA}" in message and "archives=DIR" in message
    assert "\n" not in message
    assert names(tmp_path) == []


def test_unknown_checksum_is_recorded_and_enforced(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    archive = ArchiveConfig(name="file", urls=URLS[:1])
    mirrors[URLS[0]] = GOOD
    path = fetch(archive, tmp_path, None)
    assert (tmp_path / "file.sha256").read_text() == f"{SHA}  file\n"
    path.unlink()
    mirrors[URLS[0]] = b"another file"
    with pytest.raises(CorpusError, match=r"delete file\.sha256 beside it"):
        fetch(archive, tmp_path, None)
    assert names(tmp_path) == ["file.sha256"]


def test_an_existing_file_is_verified_and_kept(tmp_path: Path) -> None:
    archive = ArchiveConfig(name="file", sha256=SHA)
    (tmp_path / "file").write_bytes(GOOD)
    before = (tmp_path / "file").stat().st_mtime_ns
    assert fetch(archive, tmp_path, None).stat().st_mtime_ns == before
    (tmp_path / "file").write_bytes(b"damaged")
    with pytest.raises(CorpusError, match="sha256"):
        fetch(archive, tmp_path, None)


def test_archives_folder_comes_before_the_network(tmp_path: Path) -> None:
    (tmp_path / "archives" / "deep").mkdir(parents=True)
    (tmp_path / "archives" / "deep" / "file").write_bytes(GOOD)
    path = fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path / "r", tmp_path / "archives")
    assert path.read_bytes() == GOOD
    assert (tmp_path / "archives" / "deep" / "file").is_file()


def test_archives_folder_without_the_file(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    mirrors[URLS[0]] = GOOD
    (tmp_path / "archives").mkdir()
    assert fetch(ArchiveConfig(name="file", urls=URLS), tmp_path / "r", tmp_path / "archives").read_bytes() == GOOD


def test_archives_folder_with_another_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"another file")
    with pytest.raises(CorpusError, match=f"{tmp_path / 'file'}: sha256 is"):
        fetch(ArchiveConfig(name="file", urls=URLS, sha256=SHA), tmp_path / "r", tmp_path)
    assert names(tmp_path / "r") == []


def test_several_files_of_that_name(tmp_path: Path) -> None:
    for folder, content in (("a", b"another"), ("b", GOOD)):
        (tmp_path / "archives" / folder).mkdir(parents=True)
        (tmp_path / "archives" / folder / "file").write_bytes(content)
    known, unknown = ArchiveConfig(name="file", sha256=SHA), ArchiveConfig(name="file")
    assert fetch(known, tmp_path / "r", tmp_path / "archives").read_bytes() == GOOD
    with pytest.raises(CorpusError, match="several different files are called file"):
        fetch(unknown, tmp_path / "other", tmp_path / "archives")


def test_no_such_archives_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no such folder"):
        fetch(ArchiveConfig(name="file"), tmp_path / "r", tmp_path / "no")


def test_an_archive_without_any_source(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="it has no URL"):
        fetch(ArchiveConfig(name="file"), tmp_path, None)


def test_unsafe_tar_is_not_installed(tmp_path: Path, mirrors: dict[str, bytes | None]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../x"))
    mirrors[URLS[0]] = buffer.getvalue()
    with pytest.raises(CorpusError, match="refused"):
        fetch(ArchiveConfig(name="file.tgz", urls=URLS[:1]), tmp_path, None)
    assert names(tmp_path) == []


class Pip:
    """Stands in for `pip download`."""

    def __init__(self, wheel: str | None, stderr: str = "") -> None:
        self.wheel, self.stderr, self.command = wheel, stderr, [""]

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.command = command
        if self.wheel:
            (Path(command[command.index("--dest") + 1]) / self.wheel).write_bytes(GOOD)
        return subprocess.CompletedProcess(command, 0 if self.wheel else 1, stderr=self.stderr)


def test_pip_downloads_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip("a-1-py3-none-any.whl")
    monkeypatch.setattr(subprocess, "run", pip)
    archive = ArchiveConfig(name="a-1-py3-none-any.whl", pip="a==1", python="3.14.2", sha256=SHA)
    assert fetch(archive, tmp_path, None).read_bytes() == GOOD
    assert pip.command[:4] == [sys.executable, "-m", "pip", "download"]
    assert pip.command[-1] == "a==1"
    assert not any("index" in part or "://" in part for part in pip.command)
    assert names(tmp_path) == ["a-1-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("pip", "message"),
    [
        (Pip(None, "WARNING: x\nERROR: No matching distribution found for a==1\n"), "a==1: No matching distribution"),
        (Pip("a-2-py3-none-any.whl"), r"gave a-2-py3-none-any\.whl"),
    ],
)
def test_pip_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pip: Pip, message: str) -> None:
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(CorpusError, match=message):
        fetch(ArchiveConfig(name="a-1-py3-none-any.whl", pip="a==1"), tmp_path, None)
    assert names(tmp_path) == []


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
