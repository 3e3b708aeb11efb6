"""A corpus as one HTML page of the report: where it came from, what was dropped at each step, what is left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reluformer.corpus.pairs import STEPS
from reluformer.files import write_text
from reluformer.paper.page import render

SIDES = ("src", "tgt")


def write_page(corpus: Path, views: Sequence[str], output: Path, note: str = "") -> None:
    """Writes the page of a prepared corpus; `views` are its packed views by name (`within-128`).

    `note` is shown under the title, for what every page of a report has to say.
    """
    statistics = _read(corpus / "statistics.json")
    provenance = _read(corpus / "provenance.json")
    packed = {view: _read(corpus / view / "statistics.json") for view in views}
    languages = statistics["languages"]
    text = render(
        "corpus.html",
        title=f"Corpus {corpus.name}: {languages['src']} to {languages['tgt']}",
        note=note,
        archives=[_source(archive) for archive in provenance["archives"]],
        steps=[step.replace("_", " ") for step in STEPS],
        cleaning=[(split, *(f"{n[step]:,}" for step in STEPS)) for split, n in statistics["cleaning"].items()],
        left_out=", ".join(f"{n:,} {what}" for what, n in statistics.get("left_out", {}).items()),
        vocabulary=f"{statistics['vocabulary']:,}",
        splits=[
            _split(f"{name} {side}", split, side) for name, split in statistics["splits"].items() for side in SIDES
        ],
        views=[
            _view(f"{view} {name}", split) for view, found in packed.items() for name, split in found["splits"].items()
        ],
        versions=", ".join(f"{name} {version}" for name, version in provenance["versions"].items()),
        configuration=json.dumps(provenance["configuration"], indent=1, ensure_ascii=False),
    )
    write_text(output, text)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _source(archive: dict[str, Any]) -> tuple[object, ...]:
    published = archive["published"]
    where = published if isinstance(published, str) else " ".join(published)
    return archive["name"], where, Markup("<code>{}</code>").format(archive["sha256"]), f"{archive['bytes']:,}"


def _split(title: str, split: dict[str, Any], side: str) -> tuple[str, ...]:
    counts = (split["pairs"], split.get("documents"), split["subwords"][side], split["unknown"][side])
    return title, *("" if n is None else f"{n:,}" for n in counts), *_lengths(split["lengths"][side])


def _view(title: str, split: dict[str, Any]) -> tuple[str, ...]:
    counts = (f"{split[unit]:,}" for unit in ("documents", "sentences", "segments"))
    shares = (f"{split['lengths'][key]:.1%}" for key in ("share_half", "share_over"))
    return title, *counts, *_lengths(split["lengths"]), *shares


def _lengths(lengths: dict[str, float]) -> tuple[str, ...]:
    return tuple(f"{lengths[key]:,}" for key in ("mean", "median", "p90", "max"))
