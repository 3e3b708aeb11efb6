"""Whether a corpus's archives can be had: at hand, or from a source that answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from reluformer.cli.checks.check import Check, last_line, run
from reluformer.config.dataset import ArchiveConfig
from reluformer.files import find_files

SECONDS, PIP_SECONDS = 5.0, 25.0

MEND = (
    "set https_proxy (for pip: PIP_INDEX_URL) if this network asks for it; or fetch {files} elsewhere, put it all into "
    "one folder and run with --config archives=DIR"
)


def sources(corpora: Mapping[str, tuple[Sequence[ArchiveConfig], bool]], folders: Sequence[Path]) -> list[Check]:
    """One line a corpus.

    Args:
        corpora: name -> its archives, and whether the demo needs it.
        folders: searched first, as `fetch` does.
    """
    places = {archive.name: at_hand(archive, folders) for archives, _ in corpora.values() for archive in archives}
    wanted = [archive for archives, _ in corpora.values() for archive in archives if places[archive.name] is None]
    asked = {place: archive for archive in wanted for place in ([archive.pip] if archive.pip else archive.urls)}
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        answers = pool.map(lambda place: ask_pip(asked[place]) if asked[place].pip else ask(place), asked)
        trouble = dict(zip(asked, answers, strict=True))
    return [judge(name, *corpus, places, trouble) for name, corpus in corpora.items()]


def judge(
    corpus: str,
    archives: Sequence[ArchiveConfig],
    needed: bool,
    places: Mapping[str, Path | None],
    trouble: Mapping[str, str],
) -> Check:
    """What is at hand and what answers; `trouble` is why a source does not, empty where it does."""
    name = f"corpus {corpus}"
    missing = [archive for archive in archives if places[archive.name] is None]
    if not missing:
        found = f"{len(archives)} file(s) at hand in {Path(str(places[archives[0].name])).parent}"
        return Check(name, "ok", found, "checksums are compared when it is used")
    lost, reasons, answering = [], [], []
    for archive in missing:
        offered = [archive.pip] if archive.pip else archive.urls
        answers = [place for place in offered if not trouble[place]]
        if answers:
            answering.append(answers[0])
        else:
            lost.append(archive.name)
            reasons += [f"{place}: {trouble[place]}" for place in offered] or [f"{archive.name} has no URL"]
    if not lost:
        found = f"{answering[0]} answers" + (f", and {len(answering) - 1} more" if len(answering) > 1 else "")
        return Check(name, "ok", found, "can be downloaded from here")
    found = reasons[0] + (f"; {len(reasons) - 1} more of its sources likewise" if len(reasons) > 1 else "")
    return Check(name, "missing", found, "cannot be downloaded from here", MEND.format(files=", ".join(lost)), needed)


def at_hand(archive: ArchiveConfig, folders: Sequence[Path]) -> Path | None:
    """The archive's file under one of the folders."""
    found = (path for folder in folders for path in find_files(folder, archive.name))
    return next(found, None)


def ask(url: str) -> str:
    """Why a URL does not answer; empty where it does."""
    try:
        answer = requests.head(url, timeout=SECONDS, allow_redirects=True)
    except requests.exceptions.ProxyError:
        return "the proxy refuses"
    except requests.Timeout:
        return "no answer"
    except requests.ConnectionError:
        return "no connection"
    except requests.RequestException as error:
        return type(error).__name__
    return "" if answer.ok else f"HTTP {answer.status_code} {answer.reason}"


def ask_pip(archive: ArchiveConfig) -> str:
    """Why pip does not find an archive's requirement; empty where it does."""
    project, _, version = str(archive.pip).partition("==")
    command = [sys.executable, "-m", "pip", "index", "versions", project, "--only-binary=:all:", "--pre"]
    command += [f"--python-version={archive.python}"] if archive.python else []
    command += [f"--timeout={SECONDS:.0f}", "--retries=1", "--disable-pip-version-check"]
    asked = run(command, PIP_SECONDS)
    if asked.code != 0:
        unreachable = "connection" in asked.errors.lower() or "proxy" in asked.errors.lower()
        return "no connection to pip's index" if unreachable else last_line(asked).removeprefix("ERROR: ")
    known = {word.strip(",()") for word in asked.output.split()}
    return "" if not version or version in known else "pip's index has no such version"
