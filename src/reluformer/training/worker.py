"""One process of a training; torchrun starts several, `launch` a single one.

    python -m torch.distributed.run --standalone --nproc-per-node N -m reluformer.training.worker \\
        RUN.json CORPORA OUTPUT CHECKPOINTS OUTCOME.json

How it ended goes to OUTCOME.json, because torchrun turns every failure into exit code 1.
"""

from __future__ import annotations

from reluformer.ops.orphans import die_with_parent
from reluformer.training.signals import Signals

if __name__ == "__main__":  # before the seconds that the imports below take
    die_with_parent()
    SIGNALS = Signals()

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

import torch
from safetensors import SafetensorError

from reluformer.config.run import RunConfig, run_status
from reluformer.config.settings import SettingsError
from reluformer.files import write_json
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer
from reluformer.ops.malloc import keep_freed_memory
from reluformer.training.checkpoints import Checkpoints, open_folder
from reluformer.training.data import TrainingData, load_start, open_data, start_folder
from reluformer.training.engine import DistributedContext, build_engine, join_world
from reluformer.training.errors import Interrupted, TrainingError
from reluformer.training.finish import write_outputs
from reluformer.training.log import RunLog, warn_of
from reluformer.training.loop import Trainer

CRASHED, MISTAKEN, INTERRUPTED = 1, 2, 75


def main(arguments: list[str], signals: Signals) -> int:
    """Trains in this process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="reluformer.training.worker")
    for name in ("run", "corpora", "output", "checkpoints", "outcome"):
        parser.add_argument(name, type=Path)
    paths = parser.parse_args(arguments)
    keep_freed_memory()
    code = CRASHED
    try:
        run = RunConfig.model_validate_json(paths.run.read_text(encoding="utf-8"))
        work(run, paths.corpora, paths.output, paths.checkpoints, signals)
        code = 0
    except Interrupted as reason:
        warn_of(f"interrupted: {reason}; start it again to go on")
        code = INTERRUPTED
    except SettingsError as mistake:
        warn_of(f"error: {mistake}")
        code = MISTAKEN
    except TrainingError as error:
        warn_of(f"error: {error}")
    except OSError as error:  # a full disk, a file that may not be read
        warn_of(f"error: {f'{error.filename}: ' if error.filename else ''}{(error.strerror or str(error)).lower()}")
    except Exception:
        traceback.print_exc()
    if os.environ["LOCAL_RANK"] == "0":
        write_json(paths.outcome, {"code": code})
    # To torchrun a failure is a reason to kill the other processes; where there is nobody to kill, it is only noise.
    alone = os.environ["WORLD_SIZE"] == "1"
    return 0 if code == INTERRUPTED or alone else code


def work(run: RunConfig, corpora: Path, output: Path, checkpoints: Path, signals: Signals) -> None:
    """The whole training of `run`: start or go on, train, write the outputs, remove the checkpoints."""
    config = run.training
    started = float(os.environ.get("RELUFORMER_STARTED", time.time()))
    world = join_world()
    data = open_data(corpora, run)
    run = with_vocabulary(run, data.train.vocabulary)
    own = own_folder(run, data, checkpoints, world)
    log = RunLog(own, config.updates, active=world.first)
    torch.manual_seed(run.seed)
    objective = Objective(Transformer(run.model), config.label_smoothing)
    if (start := start_folder(corpora, run)) is not None:
        load_start(objective.model, run, data, start)
    objective.model.checkpoint_activations = config.activation_checkpointing
    tensorboard = checkpoints / "tensorboard" if config.tensorboard else None
    engine = build_engine(objective, config, world, tensorboard)
    torch.manual_seed(run.seed + 1_000_003 * (world.rank + 1))  # each rank its own dropout
    trainer = Trainer(
        config,
        engine,
        world,
        data,
        run.seed,
        log,
        Checkpoints(own, max(config.keep, config.average_last)),
        signals,
        started,
    )
    trainer.resume()
    try:
        if start is not None and run_status(start) == "diverged":
            ending = trainer.give_up(f"{config.start_from}, which it starts from, has diverged")
        else:
            ending = trainer.train()
    finally:
        log.close()
    if world.first:
        try:
            write_outputs(trainer, run, ending, output)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{output}: could not be written: {error}; the checkpoints are kept") from error
        trainer.checkpoints.remove()
    world.barrier()
    torch.distributed.destroy_process_group()


def with_vocabulary(run: RunConfig, size: int) -> RunConfig:
    """`run` with the corpus's vocabulary filled in. Raises `SettingsError` where it says another one."""
    if run.model.vocabulary not in (0, size):
        raise SettingsError(f"model.vocabulary: {run.model.vocabulary}: the corpus has {size} subwords")
    return run.model_copy(update={"model": run.model.model_copy(update={"vocabulary": size})})


def own_folder(run: RunConfig, data: TrainingData, checkpoints: Path, world: DistributedContext) -> Path:
    """The folder for the checkpoints of this configuration and corpus, the same in every process."""
    decisive = run.model_dump(
        mode="json", exclude={"translation": True, "tuned": True, "training": {"threads", "tensorboard"}}
    )
    own = open_folder(checkpoints, decisive, data.files, warn_of) if world.first else None
    world.barrier()
    return own or open_folder(checkpoints, decisive, data.files, lambda _: None)


if __name__ == "__main__":
    CODE = main(sys.argv[1:], SIGNALS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CODE)  # all files are written: taking torch down in order would take half a second
