"""One process of a training run: torchrun starts several, `launch` a single one.

    python -m torch.distributed.run --standalone --nproc-per-node N -m reluformer.training.worker \\
        RUN.json CORPORA OUTPUT CHECKPOINTS OUTCOME.json

Writes its exit code to OUTCOME.json, because torchrun turns every failure into 1.
"""

from __future__ import annotations

from reluformer.ops.process import die_with_parent
from reluformer.training.stopping import CRASHED, INTERRUPTED, MISTAKEN, Interrupted, Signals, TrainingError

if __name__ == "__main__":  # before the imports below, which take seconds
    die_with_parent()
    SIGNALS = Signals()

import contextlib
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from reluformer.config.run import RunConfig, run_status
from reluformer.config.settings import SettingsError
from reluformer.files import replace, write_json
from reluformer.model.files import save_model
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer
from reluformer.ops.paths import verdicts
from reluformer.ops.process import keep_freed_memory
from reluformer.training.checkpoints import (
    Checkpoints,
    average_weights,
    identity,
    load_module,
    module_tensors,
    open_folder,
)
from reluformer.training.data import TrainingData, load_start, open_data
from reluformer.training.distributed import DistributedContext, join_world
from reluformer.training.engine import build_engine
from reluformer.training.log import RunLog, warn
from reluformer.training.loop import Ending, Trainer
from reluformer.training.summary import code_version, machine, versions


def main(arguments: list[str], signals: Signals) -> int:
    """Trains in this process; returns its exit code."""
    job, corpora, output, checkpoints, outcome = map(Path, arguments)
    keep_freed_memory()
    code = CRASHED
    try:
        run = RunConfig.model_validate_json(job.read_text(encoding="utf-8"))
        work(run, corpora, output, checkpoints, signals)
        code = 0
    except Interrupted as reason:
        warn(f"interrupted: {reason}; start it again to resume")
        code = INTERRUPTED
    except SettingsError as mistake:
        warn(f"error: {mistake}")
        code = MISTAKEN
    except TrainingError as error:
        warn(f"error: {error}")
    except OSError as error:  # a full disk, an unreadable file
        warn(f"error: {f'{error.filename}: ' if error.filename else ''}{(error.strerror or str(error)).lower()}")
    except Exception:
        traceback.print_exc()
    if os.environ["LOCAL_RANK"] == "0":
        write_json(outcome, {"code": code})
    # torchrun kills the other processes after a failure, even while they save.
    alone = os.environ["WORLD_SIZE"] == "1"
    return 0 if code == INTERRUPTED or alone else code


def work(run: RunConfig, corpora: Path, output: Path, checkpoints: Path, signals: Signals) -> None:
    """Trains `run` from its start or a checkpoint, writes the outputs and removes the checkpoints."""
    config = run.training
    started = float(os.environ.get("RELUFORMER_STARTED", time.time()))
    world = join_world()
    data = open_data(corpora, run)
    run = with_vocabulary(run, data.train.vocabulary)
    own = own_folder(run, data, checkpoints, world)
    log = RunLog(own, config.updates, active=world.first)
    torch.manual_seed(run.seed)
    objective = Objective(Transformer(run.model), config.label_smoothing)
    load_start(objective.model, run, data)
    objective.model.checkpoint_activations = config.activation_checkpointing
    tensorboard = checkpoints / "tensorboard" if config.tensorboard else None
    engine = build_engine(objective, config, world, tensorboard)
    torch.manual_seed(run.seed + 1_000_003 * (world.rank + 1))  # different dropout on each rank
    saved = Checkpoints(own, max(config.keep, config.average_last))
    trainer = Trainer(config, engine, world, data, run.seed, log, saved, signals, started)
    trainer.resume()
    with contextlib.closing(log), contextlib.closing(trainer.loader):
        if data.start is not None and run_status(data.start) == "diverged":
            ending = trainer.give_up(f"it starts from {config.start_from}, which diverged")
        else:
            ending = trainer.train()
    if world.first:
        try:
            write_outputs(trainer, run, ending, output)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{output}: could not be written: {error}; the checkpoints are kept") from error
        shutil.rmtree(own, ignore_errors=True)
    world.barrier()
    torch.distributed.destroy_process_group()


def with_vocabulary(run: RunConfig, size: int) -> RunConfig:
    """Returns `run` with the corpus's vocabulary size. Raises `SettingsError` if it sets a different one."""
    if run.model.vocabulary not in (0, size):
        raise SettingsError(f"model.vocabulary: {run.model.vocabulary}: the corpus has {size} subwords")
    return run.with_vocabulary(size)


def own_folder(run: RunConfig, data: TrainingData, checkpoints: Path, world: DistributedContext) -> Path:
    """Returns the folder for the checkpoints of this configuration and corpus, the same in every process."""
    decisive = run.model_dump(
        mode="json", exclude={"translation": True, "tuned": True, "training": {"threads", "tensorboard"}}
    )
    if world.first:
        open_folder(checkpoints, decisive, data.files, warn)
    world.barrier()
    return checkpoints / identity(decisive, data.files)


def write_outputs(trainer: Trainer, run: RunConfig, ending: Ending, output: Path) -> None:
    """Writes model.safetensors, config.yaml, log.jsonl and summary.json, each atomically.

    The model is the mean of the last weights and the `average_last` - 1 checkpoints before them; after divergence, the
    last weights alone.
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
    """Returns the content of summary.json."""
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
        "paths": verdicts(),
        "data": trainer.data.files,
        "tuned": run.tuned.model_dump() if run.tuned else None,
    }


if __name__ == "__main__":
    CODE = main(sys.argv[1:], SIGNALS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CODE)  # all files are written; an orderly exit of torch would take half a second
