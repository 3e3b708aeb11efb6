"""The outputs of a finished training: the averaged model, its configuration, log and summary."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from reluformer.config.run import RunConfig
from reluformer.files import replace, write_json
from reluformer.model.files import save_model
from reluformer.training.loop import Ending, Trainer
from reluformer.training.state import average_weights, load_module, module_tensors
from reluformer.training.summary import code_version, machine, versions


def write_outputs(trainer: Trainer, run: RunConfig, ending: Ending, output: Path) -> None:
    """Writes model.safetensors, config.yaml, log.jsonl and summary.json, each whole or not at all.

    The final model is the mean of the last weights and of the `average_last` - 1 checkpoints before them; of a
    diverged training it is the last weights as they are.
    """
    output.mkdir(parents=True, exist_ok=True)
    module = trainer.engine.module
    if ending != "diverged" and run.training.average_last > 1:
        before = trainer.checkpoints.regular(trainer.update, run.training.average_last - 1)
        files = [checkpoint.path / "model.safetensors" for checkpoint in before]
        load_module(module, average_weights(files, module_tensors(module)))
    save_model(module.model, output / "model.safetensors")
    run.save(output / "config.yaml")
    replace(output / "log.jsonl", lambda path: shutil.copyfile(trainer.log.lines, path))
    write_json(output / "summary.json", summarise(trainer, run, ending))


def summarise(trainer: Trainer, run: RunConfig, ending: Ending) -> dict[str, Any]:
    """The content of summary.json."""
    totals = trainer.totals
    return {
        "status": "diverged" if ending == "diverged" else "finished",
        "updates": trainer.update,
        "stopped_early": ending == "stopped-early",
        "diverged_at": trainer.divergence.at,
        **trainer.results,
        "target_tokens": totals["target_tokens"],
        "tokens_per_second": totals["target_tokens"] / max(trainer.seconds, 1e-9),
        "seconds": trainer.seconds,
        "startup_seconds": trainer.startup_seconds,
        "parameters": sum(parameter.numel() for parameter in trainer.engine.module.parameters()),
        "processes": trainer.world.size,
        "batch_padding": 1 - totals["filled"] / totals["positions"] if totals["positions"] else None,
        "machine": machine(),
        "versions": versions(),
        "code_version": code_version(),
        "data": trainer.data.files,
        "tuned": run.tuned.model_dump() if run.tuned else None,
    }
