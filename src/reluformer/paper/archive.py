"""An experiment's results in one zip file that others can check.

`SHA256SUMS` lists every other file: unpack the archive and run `sha256sum -c SHA256SUMS`, or `reluformer verify`, which
also recomputes the scores. The same results give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from reluformer.config.experiment import Experiment
from reluformer.config.run import side_names
from reluformer.config.settings import SettingsError
from reluformer.files import descriptor_of, destination, replace, sha256, write_text
from reluformer.paper.notes import toy_stamp
from reluformer.paper.provenance import provenance

MANIFEST = "SHA256SUMS"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every file in the archive, the earliest of the format."""

RUN_FILES = (
    *("config.yaml", "log.jsonl", "summary.json", "hypotheses.jsonl", "translation.json"),
    *("scores.json", "counts.npz", "analysis.json", "attention.npz"),
)
MODEL = "model.safetensors"
REFERENCES = ("raw/test.{tgt}", "test.tok.{src}", "test.tok.{tgt}")
CORPUS_FILES = ("provenance.json", "statistics.json")


def pack_archive(
    experiment: Experiment, results: Path, logs: Path, output: Path, models: bool = False, references: bool = False
) -> list[str]:
    """Writes the archive of existing results, and its sha256 beside it; returns what was left out, in sentences.

    Args:
        experiment: its runs, studies, corpora and configuration files go in.
        results, logs: their folders.
        output: the zip file.
        models: whether to include the trained models.
        references: whether to include test text without a licence to `redistribute` it.

    Raises:
        SettingsError: if there is no run, or the output is not a plain file.
    """
    if descriptor_of(output) is not None or (destination(output).exists() and not output.is_file()):
        raise SettingsError(f"{output}: an archive and its checksum need a plain file; name a .zip")
    files, left_out = collect(experiment, results, logs, models, references)
    if not any(name.startswith("results/runs/") for name in files):
        raise SettingsError(f"{results}: no run of this configuration exists, so there is nothing to archive")
    texts = {
        "README.txt": "\n".join(_description(experiment, left_out)).encode(),
        "experiment.json": _json(experiment.config.model_dump(mode="json")),
        "results/paper/provenance.json": _json(provenance(experiment, results)),
    }
    checksums = {name: sha256(path) for name, path in files.items()}
    checksums |= {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    texts[MANIFEST] = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items())).encode()

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
    """Returns the path of an archive's own sha256 in the format of `sha256sum`; it covers the manifest, too."""
    return archive.with_name(f"{archive.name}.sha256")


def collect(
    experiment: Experiment, results: Path, logs: Path, models: bool, references: bool
) -> tuple[dict[str, Path], list[str]]:
    """Returns the files of an archive by their names in it, and what is left out."""
    files: dict[str, Path] = {}
    left_out: list[str] = []

    def take(name: str, path: Path) -> None:
        if path.is_file():
            files[name] = path

    missing = 0
    for run in experiment.runs:
        for file in (*RUN_FILES, *([MODEL] if models else [])):
            take(f"results/runs/{run.path}/{file}", results / "runs" / run.path / file)
        for step in ("train", "translate", "score", "analyse"):
            take(f"logs/{step}/{run.path}.log", logs / step / f"{run.path}.log")
        missing += f"results/runs/{run.path}/summary.json" not in files
    if missing:
        left_out.append(f"{missing} of {len(experiment.runs)} runs do not exist yet.")
    if not models:
        left_out.append("The trained models are left out (--models includes them).")
    for path in _under(results / "tuning"):
        take(f"results/tuning/{path.relative_to(results / 'tuning').as_posix()}", path)
    for run in experiment.tuning.runs(results):
        for file in ("config.yaml", "log.jsonl", "summary.json"):
            take(f"results/runs/{run.path}/{file}", results / "runs" / run.path / file)
    paper = results / "paper"
    for path in _under(paper):
        if path.name != "report.html" and not path.name.startswith("archive.zip"):
            take(f"results/paper/{path.relative_to(paper).as_posix()}", path)
    for name, dataset in experiment.datasets.items():
        folder = results / "corpora" / name
        for file in CORPUS_FILES:
            take(f"results/corpora/{name}/{file}", folder / file)
        take(f"results/corpora/{name}/test.documents.txt", folder / "test.documents.txt")
        for path in sorted(folder.glob("*/test.segments.tsv")):
            take(f"results/corpora/{name}/{path.parent.name}/{path.name}", path)
        if dataset.redistribute or references:
            src, tgt = side_names(dataset.src, dataset.tgt)
            for pattern in REFERENCES:
                file = pattern.format(src=src, tgt=tgt)
                take(f"results/corpora/{name}/{file}", folder / file)
        else:
            left_out.append(
                f"{name}: the test text is left out, as its licence does not permit to redistribute it; "
                "prepare the corpus to recompute its scores (--references includes the text)."
            )
    for path in _under(experiment.folder):
        if path.suffix == ".yaml":
            take(f"config/{path.relative_to(experiment.folder).as_posix()}", path)
    for file in experiment.config.datasets.values():
        if file.endswith((".yaml", ".yml")):
            take(f"config/datasets/{Path(file).name}", Path(file))
    return files, left_out


def _under(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))


def _description(experiment: Experiment, left_out: Sequence[str]) -> Iterator[str]:
    """The lines of README.txt: what the archive has and lacks."""
    yield experiment.config.title
    yield "Results of a reproduction of arXiv:2302.06461, under the Apache License 2.0."
    if stamp := toy_stamp(experiment):
        yield f"{stamp}."
    yield from left_out
    yield f"Check it: sha256sum -c {MANIFEST}, or reluformer verify ARCHIVE."
    yield ""


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
