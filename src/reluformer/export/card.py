"""The model card of an exported folder: what the model is, on what it was trained, what it scores, its terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from reluformer.config.model import KINDS
from reluformer.config.run import RunConfig, run_status
from reluformer.corpus.text import TextConfig, TextFiles, read_provenance

PAPER = "https://arxiv.org/abs/2302.06461"
SCORES = {"bleu": "BLEU", "tokenized_bleu": "BLEU, tokenised and lower-cased", "chrf": "chrF", "d_bleu": "d-BLEU"}
UNKNOWN = "unknown"

CARD = """---
{head}---

# {title}

A {src} to {tgt} translation model: {memory_line}

It is one run of a reproduction of "[A Study on ReLU and Softmax in Transformer]({paper})"{status}. It was trained for a
study, on one corpus, and is no general translator.

## Use

With the code of the reproduction:

```
echo "..." | reluformer translate {name}
```

With Hugging Face's transformers (`pip install torch transformers sentencepiece sacremoses`), whose results are
the same; the code that it runs is in this folder:

```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}", trust_remote_code=True)
model = AutoModelForSeq2SeqLM.from_pretrained("{name}", trust_remote_code=True)
batch = tokenizer(["..."], return_tensors="pt", padding=True)
print(tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True))
```

A sentence at a time, of at most about {max_tokens} words: it has seen no longer ones. `generate` reads the whole
translation anew for every token; `reluformer translate` does not, and cuts lines that are too long.

## Scores

On the test split of `{dataset}`:

{scores}

## Model

| | |
|---|---|
{model}

Memories: f in `out = f(q·Kᵀ)·V`, and what follows the read.

| memory | f | options | after |
|---|---|---|---|
{memories}

## Training

| | |
|---|---|
{training}

## Data

{data}

## Licence

The code in this folder is under the Apache License 2.0. The weights follow the terms of the text that they were trained
on: {licence}.
"""


def model_card(run_folder: Path, config: RunConfig, files: TextFiles, name: str) -> str:
    """README.md of an exported run, with the YAML head that Hugging Face reads. name: the folder's."""
    summary = json.loads((run_folder / "summary.json").read_text(encoding="utf-8"))
    provenance = read_provenance(files.subword.parent)
    licence = provenance["configuration"].get("licence") or "unknown; see where it was published"
    metrics = _metrics(run_folder / "scores.json")
    head: dict[str, Any] = {
        "language": [config.src, config.tgt],
        "library_name": "transformers",
        "pipeline_tag": "translation",
        "license": "other",
        "license_name": licence,
        "tags": ["reluformer", "translation"],
        "metrics": ["bleu", "chrf"],
    }
    return CARD.format(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        title=f"{config.system}, {config.src} to {config.tgt}",
        src=config.src,
        tgt=config.tgt,
        memory_line=_memory_line(config),
        paper=PAPER,
        status="" if run_status(run_folder) == "finished" else f"; its training ended as: {run_status(run_folder)}",
        name=name,
        max_tokens=files.config.max_tokens,
        dataset=config.dataset,
        scores=_scores(metrics),
        model=_rows(_model(config, files.config, summary)),
        memories="\n".join(_memories(config)),
        training=_rows(_training(config, summary)),
        data=_data(provenance),
        licence=licence,
    )


def _memory_line(config: RunConfig) -> str:
    kinds = {kind: getattr(config.model, kind).activation for kind in KINDS}
    attention = sorted({name for kind, name in kinds.items() if kind != "ffn"})
    return f"an encoder-decoder Transformer with {kinds['ffn']} in the FFN and {', '.join(attention)} in attention."


def _metrics(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.is_file() else {}


def _scores(metrics: dict[str, Any]) -> str:
    rows = [
        f"| {title} | {metrics[key]['score']:.2f} | `{metrics[key]['signature'].replace('|', chr(92) + '|')}` |"
        for key, title in SCORES.items()
        if metrics.get(key)
    ]
    if not rows:
        return "It has not been scored."
    return "\n".join(["| score | | sacreBLEU signature |", "|---|---|---|", *rows])


def _rows(facts: dict[str, Any]) -> str:
    return "\n".join(f"| {key} | {value} |" for key, value in facts.items())


def _model(config: RunConfig, text: TextConfig, summary: dict[str, Any]) -> dict[str, Any]:
    model = config.model
    return {
        "parameters": f"{summary['parameters']:,}" if "parameters" in summary else UNKNOWN,
        "layers": f"{model.encoder_layers} encoder, {model.decoder_layers} decoder; LayerNorm {model.norm}",
        "width, heads, slots of an FFN": f"{model.width}, {model.heads}, {model.slots}",
        "vocabulary": f"{model.vocabulary:,} subwords, joint BPE",
        "text": f"Moses tokens, {'lower-cased' if text.lowercase else 'truecased' if text.truecase else 'cased'}",
        "beam, length penalty": f"{config.translation.beam}, {config.translation.length_penalty}",
    }


def _memories(config: RunConfig) -> list[str]:
    rows: dict[str, list[str]] = {}
    for place in config.model.places():
        memory = config.model.memory(place)
        options = ", ".join(f"{key} {value}" for key, value in memory.options.items()) or "-"
        rows.setdefault(f"{memory.activation} | {options} | {memory.output_norm}", []).append(place)
    return [f"| {', '.join(places)} | {row} |" for row, places in rows.items()]


def _training(config: RunConfig, summary: dict[str, Any]) -> dict[str, Any]:
    training = config.training
    return {
        "run": f"`{config.dataset}/{config.system}/seed{config.seed}`",
        "updates": f"{summary.get('updates', UNKNOWN)} of about {training.batch_tokens} target tokens a process",
        "learning rate": f"{training.learning_rate}, {training.schedule}, {training.warmup} updates of warm-up",
        "label smoothing, dropout": f"{training.label_smoothing}, {config.model.dropout}",
        "code": summary.get("code_version", UNKNOWN),
        "versions": ", ".join(f"{key} {value}" for key, value in summary.get("versions", {}).items()) or UNKNOWN,
    }


def _data(provenance: dict[str, Any]) -> str:
    rows = []
    for archive in provenance["archives"]:
        published = archive["published"]
        where = published if isinstance(published, str) else " ".join(published)
        rows.append(f"| {archive['name']} | {where or '-'} | `{archive['sha256']}` |")
    kept = provenance.get("cleaning", {}).get("train", {}).get("kept")
    pairs = f"\n\n{kept:,} training pairs after cleaning." if kept else ""
    return "\n".join(["| archive | published | sha256 |", "|---|---|---|", *rows]) + pairs
