"""The model card of an exported folder: what the model is, on what it was trained, what it scores, its terms."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader

from reluformer.config.model import KINDS
from reluformer.config.run import RunConfig, run_status
from reluformer.corpus.text import TextFiles, read_provenance

SCORES = {"bleu": "BLEU", "tokenized_bleu": "BLEU, tokenised and lower-cased", "chrf": "chrF", "d_bleu": "d-BLEU"}
ENVIRONMENT = Environment(
    loader=PackageLoader("reluformer.export", "."), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def model_card(run_folder: Path, config: RunConfig, files: TextFiles, name: str) -> str:
    """Returns README.md of an exported run, with the YAML head that Hugging Face reads. name: the folder's."""
    provenance = read_provenance(files.subword.parent)
    licence = provenance["configuration"].get("licence") or "unknown; see where it was published"
    scores = run_folder / "scores.json"
    metrics = json.loads(scores.read_text(encoding="utf-8"))["metrics"] if scores.is_file() else {}
    head = {
        "language": [config.src, config.tgt],
        "library_name": "transformers",
        "pipeline_tag": "translation",
        "license": "other",
        "license_name": licence,
        "tags": ["reluformer", "translation"],
        "metrics": ["bleu", "chrf"],
    }
    return ENVIRONMENT.get_template("card.md").render(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        config=config,
        ffn=config.model.ffn.activation,
        attention=", ".join(sorted({getattr(config.model, kind).activation for kind in KINDS if kind != "ffn"})),
        status=run_status(run_folder),
        name=name,
        text=files.config,
        scores=[(title, metrics[key]) for key, title in SCORES.items() if metrics.get(key)],
        summary=json.loads((run_folder / "summary.json").read_text(encoding="utf-8")),
        settings=yaml.safe_dump(
            config.model_dump(mode="json", include={"model", "training", "translation"}), sort_keys=False
        ),
        provenance=provenance,
        licence=licence,
    )
