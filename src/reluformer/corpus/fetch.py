"""Fetches archives from a local folder, their mirrors or a package index; each is complete and verified, or absent.

Downloads go to `.NAME.part`, which a later attempt resumes, and are renamed once verified. A checksum that the
configuration does not give is recorded in `NAME.sha256` at the first download and enforced on later ones; a file in the
user's own folder of archives may change and is recorded anew.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from reluformer.config.dataset import ArchiveConfig
from reluformer.corpus import CorpusError
from reluformer.corpus.archives import find_archive, record_of, write_record
from reluformer.corpus.content import WEB_PAGE, content_of, verify_members
from reluformer.files import sha256

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
RETRIED_STATUS = {408, 416, 425, 429, 500, 502, 503, 504}
PIP = (*("-m", "pip", "download", "--no-deps", "--only-binary", ":all:"), "--disable-pip-version-check")
BLOCK = 1 << 18
ATTEMPTS = 5
"""Consecutive attempts without progress before giving up."""
BACKOFF = 1.0
"""Seconds before the second attempt; doubles for each further one."""
TIMEOUT = (20.0, 60.0)
"""Timeouts in seconds: to connect, and to wait for data."""


def fetch(archive: ArchiveConfig, folder: Path, archives: Path | None, dataset: str = "") -> Path:
    """Returns `folder/archive.name`, copied from `archives` if found there, otherwise downloaded.

    dataset: the name of the folder that decides between several files of the archive's name.

    Raises `CorpusError` if no source has the file with the right checksum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / archive.name
    record = record_of(target)
    expected = archive.sha256 or (record.sha256 if record else None)
    local = find_archive(archives, archive, dataset) if archives is not None else None
    corrected = local is not None and archive.sha256 is None and record is not None and sha256(local) != record.sha256
    if target.is_file() and not corrected:
        _check(archive, target, expected, str(target))
        return target
    if local is not None:
        print(f"{archive.name}: {'changed, ' if corrected else ''}from {local}", flush=True)
        _install(archive, target, archive.sha256, str(local), partial(shutil.copyfile, local))
    elif archive.pip is not None:
        _install(archive, target, expected, f"pip download {archive.pip}", partial(_pip, archive))
    else:
        _from_mirrors(archive, target, expected)
    if archive.sha256 is None:
        write_record(target, local=local is not None)
    return target


def _from_mirrors(archive: ArchiveConfig, target: Path, expected: str | None) -> None:
    failures = []
    for url in archive.urls:
        try:
            _install(archive, target, expected, url, partial(download, url))
            return
        except CorpusError as error:
            failures.append(str(error))
    advice = f"put the file {archive.name} into a folder and give that folder as archives=DIR"
    raise CorpusError(f"{archive.name}: not fetched; {'; '.join(failures) or 'it has no URL'}; {advice}")


def _install(
    archive: ArchiveConfig, target: Path, expected: str | None, source: str, get: Callable[[Path], object]
) -> None:
    """Calls `get` to write a temporary file, verifies it, and renames or removes it."""
    part = target.with_name(f".{target.name}.part")
    get(part)
    try:
        _check(archive, part, expected, source)
    except CorpusError:
        part.unlink()
        raise
    part.replace(target)


def _check(archive: ArchiveConfig, path: Path, expected: str | None, source: str) -> None:
    """Compares the checksums of the file and of the members of a tar archive. Raises `CorpusError`.

    A web page in place of a file (a mirror's notice, a login) is refused: its checksum would be recorded as trusted.
    """
    if content_of(path) == WEB_PAGE and not archive.name.endswith((".html", ".htm")):
        raise CorpusError(f"{source}: a web page in place of {archive.name}")
    if expected is not None and (digest := sha256(path)) != expected:
        hint = "" if archive.sha256 else f"; delete {archive.name}.sha256 beside it to accept another file"
        raise CorpusError(f"{source}: sha256 is {digest}, expected {expected}{hint}")
    if archive.members or archive.name.endswith(TAR_SUFFIXES):
        verify_members(path, archive.members, source)


def _pip(archive: ArchiveConfig, part: Path) -> None:
    """Downloads a wheel with pip, from its configured index."""
    version = [] if archive.python is None else ["--python-version", archive.python]
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".pip-") as folder:
        command = [sys.executable, *PIP, *version, "--dest", folder, str(archive.pip)]
        ended = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if ended.returncode:
            lines = ended.stderr.splitlines() or ["no output"]
            reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
            raise CorpusError(f"{archive.name}: pip download {archive.pip}: {reason.removeprefix('ERROR: ')}")
        wheel = Path(folder) / archive.name
        if not wheel.is_file():
            names = ", ".join(sorted(path.name for path in Path(folder).iterdir())) or "nothing"
            raise CorpusError(f"{archive.name}: pip download {archive.pip} gave {names}")
        wheel.replace(part)


def download(url: str, part: Path) -> None:
    """Downloads `url` to `part`; resumes a partial download of the same URL.

    Uses requests, because libraries that fetch data sets (such as pooch) start over after a broken connection.

    Raises `CorpusError` if the server refuses, or fails `ATTEMPTS` times in a row.
    """
    failed = 0
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("{task.description}", *columns, transient=True) as progress:
        task = progress.add_task(part.name.removeprefix(".").removesuffix(".part"), total=None)
        while True:
            before = _size(part)
            try:
                _attempt(url, part, partial(progress.update, task))
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failed = 1 if _size(part) > before else failed + 1
                if failed >= ATTEMPTS:
                    raise CorpusError(f"{url}: {_reason(error)} ({failed} attempts)") from None
                time.sleep(BACKOFF * 2 ** (failed - 1))
            except requests.RequestException as error:
                raise CorpusError(f"{url}: {_reason(error)}") from None
            else:
                _info(part).unlink(missing_ok=True)
                return


def _attempt(url: str, part: Path, show: Callable[..., None]) -> None:
    """Downloads the missing rest of `part`; `show` gets the bytes `completed` and their `total`, if that is known.

    Raises `requests.ConnectionError` for what may be retried.
    """
    validator = _validator(url, part)
    done = _size(part) if validator else 0
    headers = {"Accept-Encoding": "identity"}  # otherwise Content-Length counts compressed bytes
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing is left to send, or the part is of another file
            part.unlink(missing_ok=True)
        if response.status_code not in (200, 206):
            kind = requests.ConnectionError if response.status_code in RETRIED_STATUS else requests.HTTPError
            raise kind(f"HTTP {response.status_code} {response.reason}")
        resumed = response.status_code == 206
        if not resumed:
            done = 0
            validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            _info(part).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with part.open("ab" if resumed else "wb") as file:
            for block in response.iter_content(BLOCK):
                file.write(block)
                done += len(block)
                show(completed=done, total=total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done != total:
        raise requests.ConnectionError(f"the connection ended after {done} of {total} bytes")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _info(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _validator(url: str, part: Path) -> str:
    """Returns the strong validator of a partial download of `url`; "" without one."""
    try:
        info = json.loads(_info(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return ""
    validator = info.get("validator", "") if part.is_file() and info.get("url") == url else ""
    return "" if validator.startswith("W/") else validator


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:160]}..."
