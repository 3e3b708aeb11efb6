"""Whether the archives of a corpus are on this machine, or can be downloaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from reluformer.cli.checks import Check, run
from reluformer.config.dataset import ArchiveConfig
from reluformer.config.experiment import Experiment
from reluformer.files import find_files

SECONDS, PIP_SECONDS = 5.0, 25.0
FIX = (
    "set https_proxy (for pip: PIP_INDEX_URL) if this network needs a proxy; or download {files} elsewhere into one "
    "folder and run with --config archives=DIR"
)


def corpus_checks(experiments: Sequence[Experiment], resources: Path, archives: Path | None) -> list[Check]:
    """Checks the corpora of these experiments.

    Args:
        resources: the folder of the archives that have been fetched.
        archives: a folder searched before the network, beside that of each configuration.
    """
    given = [archives, *(experiment.config.archives for experiment in experiments), resources]
    folders = [Path(path) for path in given if path is not None and Path(path).is_dir()]
    corpora = {
        name: (dataset.corpus.archives, experiment.config.toy)
        for experiment in experiments
        for name, dataset in experiment.datasets.items()
    }
    return check_corpora(corpora, folders)


def check_corpora(corpora: Mapping[str, tuple[Sequence[ArchiveConfig], bool]], folders: Sequence[Path]) -> list[Check]:
    """Returns a check for each corpus; `corpora`: name -> its archives, and whether the demo needs it."""
    local = {archive.name: find_archive(archive, folders) for archives, _ in corpora.values() for archive in archives}
    wanted = [archive for archives, _ in corpora.values() for archive in archives if local[archive.name] is None]
    sources = {source: archive for archive in wanted for source in sources_of(archive)}
    with ThreadPoolExecutor(max(1, len(sources))) as pool:
        answers = pool.map(lambda source: try_pip(sources[source]) if sources[source].pip else try_url(source), sources)
        errors = dict(zip(sources, answers, strict=True))
    return [_judge(name, archives, needed, local, errors) for name, (archives, needed) in corpora.items()]


def sources_of(archive: ArchiveConfig) -> list[str]:
    """Returns the URLs of an archive, or pip's requirement."""
    return [archive.pip] if archive.pip else archive.urls


def _judge(
    corpus: str,
    archives: Sequence[ArchiveConfig],
    needed: bool,
    local: Mapping[str, Path | None],
    errors: Mapping[str, str],
) -> Check:
    """errors: why a source does not answer; empty if it does."""
    name = f"corpus {corpus}"
    missing = [archive for archive in archives if local[archive.name] is None]
    if not missing:
        detail = f"{len(archives)} file(s) in {Path(str(local[archives[0].name])).parent}"
        return Check(name, "ok", detail, "checksums are compared at the first use")
    lost, reasons, answering = [], [], []
    for archive in missing:
        sources = sources_of(archive)
        good = [source for source in sources if not errors[source]]
        if good:
            answering.append(good[0])
        else:
            lost.append(archive.name)
            reasons += [f"{source}: {errors[source]}" for source in sources] or [f"{archive.name} has no URL"]
    if not lost:
        detail = f"{answering[0]} answers" + (f", and {len(answering) - 1} more" if len(answering) > 1 else "")
        return Check(name, "ok", detail, "can be downloaded from here")
    detail = reasons[0] + (f"; so do {len(reasons) - 1} more of its sources" if len(reasons) > 1 else "")
    return Check(name, "missing", detail, "cannot be downloaded from here", FIX.format(files=", ".join(lost)), needed)


def find_archive(archive: ArchiveConfig, folders: Sequence[Path]) -> Path | None:
    """Returns an archive's file below one of the folders."""
    return next((path for folder in folders for path in find_files(folder, archive.name)), None)


def try_url(url: str) -> str:
    """Returns why a URL does not answer; empty if it does."""
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


def try_pip(archive: ArchiveConfig) -> str:
    """Returns why pip does not find an archive's requirement; empty if it does."""
    project, _, version = str(archive.pip).partition("==")
    command = [sys.executable, "-m", "pip", "index", "versions", project, "--only-binary=:all:", "--pre"]
    command += [f"--python-version={archive.python}"] if archive.python else []
    command += [f"--timeout={SECONDS:.0f}", "--retries=1", "--disable-pip-version-check"]
    ended = run(command, PIP_SECONDS)
    if ended.code != 0:
        unreachable = "connection" in ended.errors.lower() or "proxy" in ended.errors.lower()
        return "no connection to pip's index" if unreachable else ended.last_line.removeprefix("ERROR: ")
    versions = {word.strip(",()") for word in ended.output.split()}
    return "" if not version or version in versions else "pip's index has no such version"
