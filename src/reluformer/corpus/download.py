"""One file from one URL: resumed after a broken connection, retried with back-off, shown by a progress bar.

On requests, because the libraries that fetch data sets (pooch among them) begin anew when a connection breaks.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import requests
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
_BLOCK = 1 << 18


class DownloadError(Exception):
    """A URL that did not give the whole file, and why."""


class Patience(NamedTuple):
    """How long to keep trying one URL."""

    attempts: int = 5  # in a row without a byte of progress
    backoff: float = 1.0  # seconds before the second attempt, doubled for each further one
    connect: float = 20.0  # seconds
    silence: float = 60.0  # seconds without a byte


class _Broken(Exception):
    """An attempt that may be repeated."""


def download(url: str, part: Path, patience: Patience = Patience()) -> None:  # noqa: B008  (immutable)
    """Writes the whole file to `part`; a `part` left by an earlier attempt at the same URL is gone on with.

    Raises `DownloadError` where the server refuses, or stays broken for `patience.attempts` attempts.
    """
    failed = 0
    with _progress() as progress:
        task = progress.add_task(part.name.removeprefix(".").removesuffix(".part"), total=None)
        while True:
            before = part.stat().st_size if part.is_file() else 0
            try:
                _attempt(url, part, patience, progress, task)
                _info(part).unlink(missing_ok=True)
                return
            except _Broken as error:
                after = part.stat().st_size if part.is_file() else 0
                failed = 1 if after > before else failed + 1
                if failed >= patience.attempts:
                    raise DownloadError(f"{url}: {error} ({failed} attempts)") from None
                time.sleep(patience.backoff * 2 ** (failed - 1))


def _attempt(url: str, part: Path, patience: Patience, progress: Progress, task: TaskID) -> None:
    known = _resumable(url, part)
    headers = {"Accept-Encoding": "identity"}
    have = part.stat().st_size if known else 0
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known["validator"]}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(patience.connect, patience.silence)) as response:
            if response.status_code == 416:  # nothing is left to send, or the part is not of this file
                part.unlink(missing_ok=True)
                raise _Broken("the server could not go on with the part")
            if response.status_code in RETRIED_STATUS:
                raise _Broken(f"HTTP {response.status_code} {response.reason}")
            if response.status_code not in (200, 206):
                raise DownloadError(f"{url}: HTTP {response.status_code} {response.reason}")
            resumed = response.status_code == 206
            if not resumed:
                have = 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length is not None else None
            validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            if not resumed:
                _info(part).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
            progress.update(task, total=total, completed=have)
            with part.open("ab" if resumed else "wb") as file:
                for block in response.iter_content(_BLOCK):
                    file.write(block)
                    have += len(block)
                    progress.update(task, completed=have)
                file.flush()
                os.fsync(file.fileno())
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Broken(_reason(error)) from None
    except requests.RequestException as error:
        raise DownloadError(f"{url}: {_reason(error)}") from None
    if total is not None and have != total:
        raise _Broken(f"the connection ended after {have} of {total} bytes")


def _resumable(url: str, part: Path) -> dict[str, str]:
    """What is known of an existing part; a strong validator of the same URL is needed to go on with it."""
    try:
        known = json.loads(_info(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    usable = part.is_file() and known.get("url") == url and known.get("validator", "")
    return known if usable and not known["validator"].startswith("W/") else {}


def _info(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:160]}..."


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        transient=True,
    )
