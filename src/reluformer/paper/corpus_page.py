"""A corpus as one HTML page of the report: where it came from, what was dropped at each step, what is left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from reluformer.corpus.clean import STEPS
from reluformer.files import write_text
from reluformer.paper.page import HEAD, STYLE, grid

TEMPLATE = (
    HEAD
    + """<style>{{ style }}</style>
</head>
<body>{{ body }}</body>
</html>
"""
)


def write_page(corpus: Path, views: Sequence[str], output: Path, note: str = "") -> None:
    """Writes the page of a prepared corpus; `views` are its packed views by name (`within-128`).

    `note` is shown under the title, for what every page of a report has to say.
    """
    statistics = _read(corpus / "statistics.json")
    provenance = _read(corpus / "provenance.json")
    packed = {view: _read(corpus / view / "statistics.json") for view in views}
    languages = statistics["languages"]
    title = f"Corpus {corpus.name}: {languages['src']} to {languages['tgt']}"
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(note)}</p>" if note else ""]
    parts += ["<h2>Source</h2>", _sources(provenance["archives"])]
    parts += ["<h2>Cleaning: pairs at each step</h2>", _cleaning(statistics["cleaning"])]
    if left_out := statistics.get("left_out"):
        listed = ", ".join(f"{n:,} {what}" for what, n in left_out.items())
        parts += [f"<p>Left out while reading: {escape(listed)}.</p>"]
    parts += [f"<h2>Splits: {statistics['vocabulary']:,} subwords</h2>", _splits(statistics["splits"])]
    if packed:
        parts += ["<h2>Segments: tokens of the longer side</h2>", _views(packed)]
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    parts += ["<h2>Configuration</h2>", f"<p>{escape(versions)}</p>"]
    parts += [f"<pre>{escape(json.dumps(provenance['configuration'], indent=1, ensure_ascii=False))}</pre>"]
    template = Environment(autoescape=True).from_string(TEMPLATE)
    text = template.render(title=title, style=Markup(STYLE), body=Markup("".join(parts)))
    write_text(output, text)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _sources(archives: list[dict[str, Any]]) -> str:
    rows = []
    for archive in archives:
        published = archive["published"]
        rows.append(
            (
                archive["name"],
                published if isinstance(published, str) else " ".join(published),
                Markup("<code>{}</code>").format(archive["sha256"]),
                f"{archive['bytes']:,}",
            )
        )
    return grid(("file", "published", "sha256", "bytes"), rows)


def _cleaning(cleaning: dict[str, dict[str, int]]) -> str:
    rows = [(split, *(f"{counts[step]:,}" for step in STEPS)) for split, counts in cleaning.items()]
    return grid(("split", *(step.replace("_", " ") for step in STEPS)), rows)


def _splits(splits: dict[str, dict[str, Any]]) -> str:
    rows = []
    for split, found in splits.items():
        for side in ("src", "tgt"):
            lengths = found["lengths"][side]
            rows.append(
                (
                    f"{split} {side}",
                    f"{found['pairs']:,}",
                    f"{found['documents']:,}" if "documents" in found else "",
                    f"{found['subwords'][side]:,}",
                    f"{found['unknown'][side]:,}",
                    *(f"{lengths[key]:,}" for key in ("mean", "median", "p90", "max")),
                )
            )
    return grid(("split", "pairs", "documents", "subwords", "unknown", "mean", "median", "p90", "max"), rows)


def _views(packed: dict[str, dict[str, Any]]) -> str:
    rows = []
    for view, found in packed.items():
        for split, counts in found["splits"].items():
            lengths = counts["lengths"]
            rows.append(
                (
                    f"{view} {split}",
                    f"{counts['documents']:,}",
                    f"{counts['sentences']:,}",
                    f"{counts['segments']:,}",
                    *(f"{lengths[key]:,}" for key in ("mean", "median", "p90", "max")),
                    *(f"{lengths[key]:.1%}" for key in ("share_half", "share_over")),
                )
            )
    names = ("view", "documents", "sentences", "segments", "mean", "median", "p90", "max", "at least L/2", "over L")
    return grid(names, rows)
