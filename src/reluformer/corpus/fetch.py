"""Archives: from a local folder, from their mirrors or from a package index; verified, and whole or absent.

Nothing is ever under an archive's name that was not complete and verified: downloads go to `.NAME.part` (kept over a
broken connection, so that the next attempt goes on from there) and are renamed at the end. A checksum that is not
known is recorded in `NAME.sha256` at the first download and enforced on later ones; a person's own folder of archives
may change, and is recorded anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from reluformer.config.dataset import ArchiveConfig
from reluformer.corpus.download import DownloadError, download
from reluformer.corpus.errors import CorpusError
from reluformer.corpus.extract import TAR_SUFFIXES, verify_members
from reluformer.corpus.places import find_archive, record_of, write_record
from reluformer.files import sha256


def fetch(archive: ArchiveConfig, folder: Path, archives: Path | None, dataset: str = "") -> Path:
    """`folder/archive.name`, taken from under `archives` if it is there, otherwise from the network.

    dataset: of several files of the name under `archives`, that in a folder of this name is meant.

    Raises `CorpusError` where no source has the file, or only with another checksum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / archive.name
    record = record_of(target)
    expected = archive.sha256 or (record.sha256 if record else None)
    found = find_archive(archives, archive, dataset) if archives is not None else None
    corrected = found is not None and archive.sha256 is None and record is not None and sha256(found) != record.sha256
    if target.is_file() and not corrected:
        _check(archive, target, expected, str(target))
        return target
    if found is not None:
        print(f"{archive.name}: {'another than before, ' if corrected else ''}from {found}", flush=True)
        _install(archive, target, archive.sha256, str(found), lambda part: shutil.copyfile(found, part))
    elif archive.pip is not None:
        _install(archive, target, expected, f"pip download {archive.pip}", lambda part: _pip(archive, part))
    else:
        _from_mirrors(archive, target, expected)
    if archive.sha256 is None:
        write_record(target, local=found is not None)
    return target


def _from_mirrors(archive: ArchiveConfig, target: Path, expected: str | None) -> None:
    failures = []
    for url in archive.urls:
        try:
            _install(archive, target, expected, url, lambda part, url=url: download(url, part))  # type: ignore[misc]
            return
        except (DownloadError, CorpusError) as error:
            failures.append(str(error))
    advice = f"put the file {archive.name} into a folder and give that folder as archives=DIR"
    raise CorpusError(f"{archive.name}: not fetched; {'; '.join(failures) or 'it has no URL'}; {advice}")


def _install(
    archive: ArchiveConfig, target: Path, expected: str | None, source: str, get: Callable[[Path], object]
) -> None:
    """`get` writes the temporary name; what is verified is renamed, what is not is removed."""
    part = target.with_name(f".{target.name}.part")
    get(part)
    try:
        _check(archive, part, expected, source)
    except CorpusError:
        part.unlink()
        raise
    part.replace(target)


def _check(archive: ArchiveConfig, path: Path, expected: str | None, source: str) -> None:
    """Compares the checksums of the file, and of members of a tar archive. Raises `CorpusError`."""
    if expected is not None and (found := sha256(path)) != expected:
        hint = "" if archive.sha256 else f"; delete {archive.name}.sha256 beside it to accept another file"
        raise CorpusError(f"{source}: sha256 is {found}, expected {expected}{hint}")
    if archive.members or archive.name.endswith(TAR_SUFFIXES):
        verify_members(path, archive.members, source)


def _pip(archive: ArchiveConfig, part: Path) -> None:
    """Lets pip choose and download a wheel, from whatever index it is set up for."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
    ]
    if archive.python is not None:
        command += ["--python-version", archive.python]
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".pip-") as folder:
        ended = subprocess.run([*command, "--dest", folder, str(archive.pip)], stderr=subprocess.PIPE, text=True)
        if ended.returncode:
            lines = ended.stderr.splitlines() or ["no output"]
            reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
            raise CorpusError(f"{archive.name}: pip download {archive.pip}: {reason.removeprefix('ERROR: ')}")
        wheel = Path(folder) / archive.name
        if not wheel.is_file():
            got = ", ".join(sorted(path.name for path in Path(folder).iterdir())) or "nothing"
            raise CorpusError(f"{archive.name}: pip download {archive.pip} gave {got}")
        wheel.replace(part)
