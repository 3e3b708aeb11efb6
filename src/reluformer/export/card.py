"""The model card of an exported folder: what the model is, on what it was trained, what it scores, its terms."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader

from reluformer.config.model import KINDS
from reluformer.config.run import RunConfig, run_status
from reluformer.corpus.text import TextFiles, read_provenance

SCORES = {"bleu": "BLEU", "tokenized_bleu": "BLEU, tokenised and lower-cased", "chrf": "chrF", "d_bleu": "d-BLEU"}
LICENCES = re.compile(r"apache-2\.0|mit|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[34]\.0")
"""The licences of texts that Hugging Face knows, by its names."""
ENVIRONMENT = Environment(
    loader=PackageLoader("reluformer.export", "."), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def model_card(run_folder: Path, config: RunConfig, files: TextFiles, name: str) -> str:
    """Returns README.md of an exported run, with the YAML head that Hugging Face reads. name: the folder's."""
    provenance = read_provenance(files.subword.parent)
    licence = provenance["configuration"].get("licence") or "unknown; see where it was published"
    scores = run_folder / "scores.json"
    metrics = json.loads(scores.read_text(encoding="utf-8"))["metrics"] if scores.is_file() else {}
    scored = [(key, title, metrics[key]) for key, title in SCORES.items() if metrics.get(key)]
    return ENVIRONMENT.get_template("card.md").render(
        head=yaml.safe_dump(metadata(config, name, licence, scored), sort_keys=False, allow_unicode=True),
        config=config,
        ffn=config.model.ffn.activation,
        attention=", ".join(sorted({getattr(config.model, kind).activation for kind in KINDS if kind != "ffn"})),
        status=run_status(run_folder),
        name=name,
        text=files.config,
        scores=[(title, score) for _, title, score in scored],
        summary=json.loads((run_folder / "summary.json").read_text(encoding="utf-8")),
        settings=yaml.safe_dump(
            config.model_dump(mode="json", include={"model", "training", "translation"}), sort_keys=False
        ),
        provenance=provenance,
        licence=licence,
    )


def metadata(config: RunConfig, name: str, licence: str, scored: list[tuple[str, str, dict]]) -> dict[str, Any]:
    """Returns the head of a model card, as Hugging Face reads it. scored: metric, title, score of the test split."""
    head: dict[str, Any] = {
        "language": [config.src, config.tgt],
        "library_name": "transformers",
        "pipeline_tag": "translation",
        **licence_keys(licence),
        "tags": ["reluformer", "translation", "custom_code", "arxiv:2302.06461"],
        "datasets": [config.dataset.partition("@")[0]],
    }
    if not scored:
        return head
    kinds = {"chrf": "chrf"}  # the others are BLEU
    result = {
        "task": {"type": "translation", "name": f"{config.src} to {config.tgt}"},
        "dataset": {"type": head["datasets"][0], "name": config.dataset, "split": "test"},
        "metrics": [
            {
                "type": kinds.get(key, "bleu"),
                "value": round(score["score"], 2),
                "name": title,
                "args": {"signature": score["signature"]},
            }
            for key, title, score in scored
        ],
    }
    names = sorted({kinds.get(key, "bleu") for key, _, _ in scored})
    return {**head, "metrics": names, "model-index": [{"name": name, "results": [result]}]}


def licence_keys(licence: str) -> dict[str, str]:
    """Returns a text's terms as Hugging Face names them: one of its licences, or `other` and a name."""
    name = re.sub(r"[^a-z0-9.]+", "-", licence.partition("(")[0].strip().lower()).strip("-")
    return {"license": name} if LICENCES.fullmatch(name) else {"license": "other", "license_name": name}
