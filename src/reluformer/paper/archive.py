"""An experiment's results in one zip file that others can check.

`SHA256SUMS` lists every other file: unpack the archive and run `sha256sum -c SHA256SUMS`, or `reluformer verify`, which
also recomputes the scores. The same results give the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reluformer.config.evaluation import PLAIN, Tokenizer
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import ATTENTION
from reluformer.config.run import side_names, split_dataset
from reluformer.config.settings import SettingsError, read_json
from reluformer.evaluation.score import score_run
from reluformer.files import descriptor_of, destination, replace, sha256, write_text
from reluformer.paper.index import RUN_STEPS, provenance
from reluformer.paper.notes import toy_stamp
from reluformer.paper.record import CORPUS_FILES, STEPS, changes, compact, experiment_content

MANIFEST = "SHA256SUMS"
RUN_FILES = (*STEPS["train"], "hypotheses.jsonl", *STEPS["score"], *STEPS["analyse"], ATTENTION)
SCORED = ("config.yaml", "hypotheses.jsonl", "translation.json")
"""The files of a run from which its scores are recomputed."""


def pack_archive(
    experiment: Experiment, results: Path, logs: Path, output: Path, models: bool = False, references: bool = False
) -> list[str]:
    """Writes the archive of existing results and, next to it, its sha256; returns what was left out, in sentences.

    Trained `models` and `references` (test text whose licence does not permit redistribution) are left out by default.
    Raises `SettingsError` if there is no run, or the output is not a plain file.
    """
    if descriptor_of(output) is not None or (destination(output).exists() and not output.is_file()):
        raise SettingsError(f"{output}: an archive and its checksum need a plain file; name a .zip")
    paths = [results / path for path in _results(experiment, results, models, references)]
    files = {f"results/{path.relative_to(results).as_posix()}": path for path in paths if path.is_file()}
    if not any(name.startswith("results/runs/") for name in files):
        raise SettingsError(f"{results}: no run of this configuration exists, so there is nothing to archive")
    names = [f"{step}/{run.path}.log" for step in RUN_STEPS for run in experiment.runs]
    files |= {f"logs/{name}": logs / name for name in names if (logs / name).is_file()}
    written = [path for path in experiment.folder.rglob("*.yaml") if path.is_file() and not path.name.startswith(".")]
    files |= {f"config/{path.relative_to(experiment.folder).as_posix()}": path for path in written}
    own = [Path(file) for file in experiment.config.datasets.values() if file.endswith((".yaml", ".yml"))]
    files |= {f"config/datasets/{path.name}": path for path in own}
    left_out = list(_left_out(experiment, files, models, references))
    stamp = toy_stamp(experiment)
    readme = [
        experiment.config.title,
        "Results of a reproduction of arXiv:2302.06461, under the Apache License 2.0.",
        *([f"{stamp}."] if stamp else []),
        *left_out,
        f"Check it: sha256sum -c {MANIFEST}, or reluformer verify ARCHIVE.\n",
    ]
    texts = {
        "README.txt": "\n".join(readme),
        "experiment.json": compact(experiment_content(experiment)),
        "results/paper/provenance.json": compact(provenance(experiment, results)),
    }
    checksums = {name: sha256(path) for name, path in files.items()}
    checksums |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    texts[MANIFEST] = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items()))

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in sorted(texts.items()):
                archive.writestr(_info(name), text)
            for name in sorted(files):
                with archive.open(_info(name), "w", force_zip64=True) as target, files[name].open("rb") as source:
                    shutil.copyfileobj(source, target)

    replace(output, write)
    write_text(checksum_file(output), f"{sha256(output)}  {output.name}\n")
    return left_out


def checksum_file(archive: Path) -> Path:
    """Returns the path of an archive's own sha256 in the format of `sha256sum`, which also covers the manifest."""
    return archive.with_name(f"{archive.name}.sha256")


def _results(experiment: Experiment, results: Path, models: bool, references: bool) -> Iterator[str | Path]:
    """Returns the files of an archive below results/, whether they exist or not."""
    for run in experiment.runs:
        for file in (*RUN_FILES, *(["model.safetensors"] if models else [])):
            yield f"runs/{run.path}/{file}"
    for run in experiment.tuning.runs(results):
        for file in STEPS["train"]:
            yield f"runs/{run.path}/{file}"
    for path in (*results.glob("tuning/**/*"), *results.glob("paper/**/*")):
        if not path.name.startswith((".", "archive.zip")) and path.name != "report.html":
            yield path.relative_to(results)
    for name, dataset in experiment.datasets.items():
        yield from (f"corpora/{name}/{file}" for file in (*CORPUS_FILES, "test.documents.txt"))
        yield from (path.relative_to(results) for path in results.glob(f"corpora/{name}/*/test.segments.tsv"))
        if dataset.redistribute or references:
            src, tgt = side_names(dataset.src, dataset.tgt)
            yield from (f"corpora/{name}/{file}" for file in (f"raw/test.{tgt}", f"test.tok.{src}", f"test.tok.{tgt}"))


def _left_out(experiment: Experiment, files: dict[str, Path], models: bool, references: bool) -> Iterator[str]:
    missing = sum(f"results/runs/{run.path}/summary.json" not in files for run in experiment.runs)
    if missing:
        yield f"{missing} of {len(experiment.runs)} runs do not exist yet."
    if not models:
        yield "The trained models are left out (--models includes them)."
    for name, dataset in experiment.datasets.items():
        if not (dataset.redistribute or references):
            yield (
                f"{name}: the test text is left out, as its licence does not permit redistribution; "
                "prepare the corpus to recompute its scores (--references includes the text)."
            )


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # of 1980, the earliest date of the format
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


class Verified(NamedTuple):
    """The faults of an archive, and the numbers of files checked, of runs rescored and of runs that were not."""

    faults: list[str]
    files: int
    scored: int
    unscored: int


def verify_archive(path: Path, corpora: Path | None = None) -> Verified:
    """Checks an archive; `corpora` are prepared ones, for test text that is not in it.

    Raises `SettingsError` if there is no such file, or it is not an archive of results.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise SettingsError(f"{path}: not a zip file, or a broken one: {error}") from None
    with archive, tempfile.TemporaryDirectory(prefix="reluformer-verify-") as temporary:
        listed = _manifest(archive, path)
        faults = [*_check_whole(path), *_check_bytes(archive, listed)]
        if faults:
            return Verified(faults, len(listed), 0, 0)
        archive.extractall(temporary)
        results = Path(temporary) / "results"
        runs = sorted(results.glob("runs/*/*/seed*/scores.json"))
        runs = [path.parent for path in runs if all((path.parent / file).is_file() for file in SCORED)]
        scored = 0
        for run in runs:
            stored = read_json(run / "scores.json") or {}
            if _score(run, results / "corpora", corpora, stored.get("tokenizer", PLAIN)):
                scored += 1
                name = (run / "scores.json").relative_to(temporary).as_posix()
                faults += [f"{name}: {change}" for change in changes(stored, read_json(run / "scores.json"))]
        return Verified(faults, len(listed), scored, len(runs) - scored)


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """Returns the checksum of each file by its name. Raises `SettingsError`."""
    try:
        lines = archive.read(MANIFEST).decode().splitlines()
        return {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}
    except KeyError:
        raise SettingsError(f"{path}: not an archive of results: it has no {MANIFEST}") from None
    except Exception as error:  # a damaged stream raises almost anything
        raise SettingsError(f"{path}: {MANIFEST}: damaged: {error}") from None


def _check_whole(path: Path) -> list[str]:
    """Returns a fault if the archive does not match the checksum file next to it, if there is one."""
    beside = checksum_file(path)
    if not beside.is_file() or beside.read_text(encoding="utf-8").split(" ")[0] == sha256(path):
        return []
    return [f"{path.name}: does not match {beside.name}"]


def _check_bytes(archive: zipfile.ZipFile, listed: dict[str, str]) -> list[str]:
    names = Counter(archive.namelist())
    faults = [f"{name}: in the archive twice" for name, number in names.items() if number > 1]
    faults += [f"{name}: not in the manifest" for name in sorted(names.keys() - {*listed, MANIFEST})]
    leading_out = [name for name in listed if Path(name).is_absolute() or ".." in Path(name).parts]
    faults += [f"{name}: leads out of the archive" for name in leading_out]
    for name, checksum in listed.items():
        wrong = _fault(archive, name, checksum) if name in names else "missing"
        faults += [f"{name}: {wrong}"] if wrong else []
    return faults


def _fault(archive: zipfile.ZipFile, name: str, checksum: str) -> str | None:
    try:
        with archive.open(name) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except Exception as error:
        return f"cannot be read: {error}"
    return None if digest == checksum else "does not match the manifest"


def _score(run: Path, packed: Path, corpora: Path | None, tokenizer: Tokenizer) -> bool:
    """Scores a run from its hypotheses; returns whether its test text is among the packed corpora or in `corpora`."""
    raw = Path(split_dataset(run.parts[-3])[0], "raw")
    folder = next((place for place in (packed, corpora) if place is not None and (place / raw).is_dir()), packed)
    if not (folder / raw).is_dir() and (read_json(run / "translation.json") or {})["status"] != "diverged":
        return False
    score_run(run, folder, tokenizer)
    return True
