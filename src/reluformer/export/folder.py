"""Writes an exported model's folder atomically: weights, configuration, text models, model card and code."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader

from reluformer.config.model import KINDS
from reluformer.config.run import EXPORT_FILE, Run, RunConfig, read_export, run_status
from reluformer.config.settings import SettingsError
from reluformer.corpus import moses
from reluformer.corpus.preprocessor import Preprocessor
from reluformer.corpus.subword import BOS, EOS, PAD, UNK
from reluformer.corpus.text import (
    SUBWORD_FILE,
    TRUECASER_FILES,
    TextFiles,
    find_text,
    read_provenance,
    require_trained_with,
)
from reluformer.export.huggingface.transformer_reluformer import ACTIVATIONS
from reluformer.files import write_json, write_text
from reluformer.model.files import MODEL_FILE, load_model, save_model

SPECIAL_TOKENS = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "decoder_start_token_id": BOS}
CODE = [*sorted((Path(__file__).parent / "huggingface").glob("*_reluformer.py")), Path(moses.__file__)]
"""The Python files that transformers loads from an exported folder."""
SCORES = {"bleu": "BLEU", "tokenized_bleu": "BLEU, tokenised and lower-cased", "chrf": "chrF", "d_bleu": "d-BLEU"}
LICENCES = re.compile(r"apache-2\.0|mit|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[34]\.0")
"""The licences of texts that Hugging Face has identifiers for."""
ENVIRONMENT = Environment(
    loader=PackageLoader("reluformer.export", "."), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def export_model(
    run_folder: Path, output: Path, corpora: Path | None = None, force: bool = False, int8: bool = False
) -> None:
    """Writes everything needed to translate with a run to the folder `output`.

    corpora: the folder of the prepared corpora; None for the one next to the runs. force: replace an earlier export.
    int8: translate in int8 by default; the weights are quantised when they are loaded.

    Raises:
        SettingsError: the run, its model or its corpus is missing or damaged, or `output` may not be replaced.
    """
    config = RunConfig.load(run_folder)
    if int8:
        translation = config.translation.model_copy(update={"precision": "int8"})
        config = config.model_copy(update={"translation": translation})
    if read_export(run_folder) is not None:
        raise SettingsError(f"{run_folder}: this is already an exported model; copy the folder")
    used = {config.model.memory(place).activation for place in config.model.places()}
    if missing := sorted(used.difference(ACTIVATIONS)):
        raise SettingsError(
            f"{run_folder}: {', '.join(missing)}: not supported by exported models; add it to Activation.forward in "
            "reluformer/export/huggingface/transformer_reluformer.py"
        )
    files = find_text(run_folder, config, corpora)
    pieces = len(Preprocessor(files, config.src).subword)
    if pieces != config.model.vocabulary:
        raise SettingsError(
            f"{files.subword}: {pieces} subwords, but the model of {run_folder} has {config.model.vocabulary}"
        )
    require_trained_with(run_folder, files.subword)
    model, _ = load_model(run_folder)
    _make_way(output, force)
    output = Path(os.path.realpath(output))  # `.` has no name, and a link must stay a link
    existed = output.exists()
    partial = (output if existed else output.parent) / f".{output.name[:100]}.{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        save_model(model, partial / MODEL_FILE, header(run_folder, config))
        shutil.copyfile(files.subword, partial / SUBWORD_FILE)
        if files.config.truecase:
            shutil.copyfile(files.truecaser, partial / TRUECASER_FILES["src"])
            shutil.copyfile(find_text(run_folder, config, corpora, "tgt").truecaser, partial / TRUECASER_FILES["tgt"])
        write_json(partial / EXPORT_FILE, model_json(config, files))
        write_json(partial / "generation_config.json", generation_json(config))
        write_json(partial / "tokenizer_config.json", tokenizer_json(config, files))
        for file in CODE:
            shutil.copyfile(file, partial / file.name)
        write_text(partial / "README.md", model_card(run_folder, config, files, output.name))
        if existed:  # the folder itself stays: it may be the working folder or a mount point
            _fill(output, partial)
        else:
            partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def header(run_folder: Path, config: RunConfig) -> dict[str, str]:
    """Returns the metadata of model.safetensors: which run the weights come from."""
    summary = json.loads((run_folder / "summary.json").read_text(encoding="utf-8"))
    run = Run(config.dataset, config.system, config.seed).path
    return {"run": run, "code_version": summary.get("code_version") or "unknown", "paper": "arXiv:2302.06461"}


def model_json(config: RunConfig, files: TextFiles) -> dict[str, Any]:
    """Returns config.json: what transformers requires, the run, its memories by place, its text preparation."""
    return {
        "model_type": "reluformer",
        "architectures": ["ReLUFormerForTranslation"],
        "auto_map": {
            "AutoConfig": "modeling_reluformer.ReLUFormerConfig",
            "AutoModel": "modeling_reluformer.ReLUFormerForTranslation",
            "AutoModelForSeq2SeqLM": "modeling_reluformer.ReLUFormerForTranslation",
        },
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,
        "use_cache": False,
        "dtype": "float32",
        "precision": "int8" if config.translation.precision == "int8" else "fp32",
        "vocab_size": config.model.vocabulary,
        **SPECIAL_TOKENS,
        "run": config.model_dump(mode="json"),
        "memories": {
            place: config.model.memory(place).model_dump(mode="json", exclude={"penalty", "anneal_from_softmax"})
            for place in config.model.places()
        },
        "text": files.config.model_dump(mode="json"),
    }


def generation_json(config: RunConfig) -> dict[str, Any]:
    """Returns generation_config.json: the beam search of the run, under the names of transformers."""
    return {
        "num_beams": config.translation.beam,
        "length_penalty": config.translation.length_penalty,
        "early_stopping": True,  # a sentence is done when `num_beams` hypotheses have finished
        "do_sample": False,
        "use_cache": False,
        **SPECIAL_TOKENS,
    }


def tokenizer_json(config: RunConfig, files: TextFiles) -> dict[str, Any]:
    """Returns tokenizer_config.json: languages, text preparation, special tokens."""
    names = Preprocessor(files, config.src).subword.pieces(range(4))
    return {
        "tokenizer_class": "ReLUFormerTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_reluformer.ReLUFormerTokenizer", None]},
        "src": config.src,
        "tgt": config.tgt,
        "text": files.config.model_dump(mode="json"),
        **{f"{kind}_token": names[i] for kind, i in (("pad", PAD), ("unk", UNK), ("bos", BOS), ("eos", EOS))},
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        "padding_side": "right",
    }


def model_card(run_folder: Path, config: RunConfig, files: TextFiles, name: str) -> str:
    """Returns README.md of an exported run, with the YAML metadata of Hugging Face. name: the folder's."""
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
    """Returns a model card's metadata for Hugging Face. scored: metric, title and score on the test split."""
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
    """Returns the metadata of a text's licence: an identifier of Hugging Face, or `other` and a name."""
    name = re.sub(r"[^a-z0-9.]+", "-", licence.partition("(")[0].strip().lower()).strip("-")
    return {"license": name} if LICENCES.fullmatch(name) else {"license": "other", "license_name": name}


def _fill(output: Path, partial: Path) -> None:
    """Replaces the contents of `output` by those of `partial`; EXPORT_FILE, which marks an export, comes last."""
    for old in output.iterdir():
        if old.is_dir() and not old.is_symlink():
            if old != partial:
                shutil.rmtree(old)
        else:
            old.unlink()
    for new in sorted(partial.iterdir(), key=lambda path: path.name == EXPORT_FILE):
        new.rename(output / new.name)


def _make_way(output: Path, force: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir():
        raise SettingsError(f"{output}: this is a file; name a folder")
    path = output / EXPORT_FILE
    ours = path.is_file() and "reluformer" in path.read_text(encoding="utf-8", errors="replace")
    if not ours:
        raise SettingsError(f"{output}: the folder is not empty, and is not an exported model")
    if not force:
        raise SettingsError(f"{output}: already holds an exported model; --force replaces it")
