"""An experiment's results in one zip file that others can check.

`SHA256SUMS` lists every other file: unpack the archive and run `sha256sum -c SHA256SUMS`, or `reluformer verify`, which
also recomputes the scores. The same results give the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import ATTENTION
from reluformer.config.run import side_names
from reluformer.config.settings import SettingsError
from reluformer.files import descriptor_of, destination, replace, sha256, write_text
from reluformer.paper.notes import toy_stamp
from reluformer.paper.provenance import provenance
from reluformer.paper.record import CORPUS_FILES, STEPS, compact, experiment_content

MANIFEST = "SHA256SUMS"
RUN_FILES = (*STEPS["train"], "hypotheses.jsonl", *STEPS["score"], *STEPS["analyse"], ATTENTION)
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every file in the archive, the earliest of the format."""


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
    paths = [results / path for path in _results(experiment, results, models, references)]
    files = {f"results/{path.relative_to(results).as_posix()}": path for path in paths if path.is_file()}
    if not any(name.startswith("results/runs/") for name in files):
        raise SettingsError(f"{results}: no run of this configuration exists, so there is nothing to archive")
    names = [f"{step}/{run.path}.log" for step in ("train", "translate", "score", "analyse") for run in experiment.runs]
    files |= {f"logs/{name}": logs / name for name in names if (logs / name).is_file()}
    files |= {f"config/{path.relative_to(experiment.folder).as_posix()}": path for path in _yaml(experiment.folder)}
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
    """Returns the path of an archive's own sha256 in the format of `sha256sum`; it covers the manifest, too."""
    return archive.with_name(f"{archive.name}.sha256")


def _results(experiment: Experiment, results: Path, models: bool, references: bool) -> Iterator[str | Path]:
    """The files of an archive below results/, whether they exist or not."""
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


def _yaml(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.yaml") if path.is_file() and not path.name.startswith(".")]


def _left_out(experiment: Experiment, files: dict[str, Path], models: bool, references: bool) -> Iterator[str]:
    missing = sum(f"results/runs/{run.path}/summary.json" not in files for run in experiment.runs)
    if missing:
        yield f"{missing} of {len(experiment.runs)} runs do not exist yet."
    if not models:
        yield "The trained models are left out (--models includes them)."
    for name, dataset in experiment.datasets.items():
        if not (dataset.redistribute or references):
            yield (
                f"{name}: the test text is left out, as its licence does not permit to redistribute it; "
                "prepare the corpus to recompute its scores (--references includes the text)."
            )


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info
