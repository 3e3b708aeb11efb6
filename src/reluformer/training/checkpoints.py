"""Checkpoints on disk: written atomically, verified by checksum, pruned when old, never pickled.

checkpoints/DATASET/SYSTEM/seedN/
  train.log
  <identity>/                 one folder for each resolved configuration and corpus of the run
    run.json                  that configuration and corpus
    log.jsonl
    update-00001000/
      model.safetensors       weights and buffers
      optimizer.safetensors   ZeRO 0: the Adam moments
      rank<r>.safetensors     each rank: random generators; ZeRO 1 and 2: its part of the moments and fp32 weights
      state.json              update, schedule, loss scaler, position in the data, log and stopping rules
      checksums.json
    update-00001234-interim/  saved on a signal or a timer; never averaged into the final model
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from deepspeed import DeepSpeedEngine
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from reluformer.files import sha256, sync, write_json
from reluformer.training.distributed import DistributedContext
from reluformer.training.stopping import TrainingError

CHECKSUMS = "checksums.json"
NAME = re.compile(r"update-(\d{8,})(-interim)?")
SCALER_FIELDS = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


class Checkpoint(NamedTuple):
    """One checkpoint on disk."""

    update: int
    interim: bool
    path: Path


class DamagedCheckpoint(Exception):
    """A file of a checkpoint is missing or changed."""


class Checkpoints:
    """The checkpoints in `folder`, of one run in one configuration; keeps the last `keep` regular ones."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def all(self) -> list[Checkpoint]:
        """Returns all checkpoints, oldest first."""
        matches = [(NAME.fullmatch(path.name), path) for path in self.folder.glob("update-*")]
        checkpoints = [Checkpoint(int(match[1]), match[2] is not None, path) for match, path in matches if match]
        return sorted(checkpoints, key=lambda checkpoint: (checkpoint.update, not checkpoint.interim))

    def partial(self, update: int, interim: bool) -> Path:
        """Returns the temporary folder of a checkpoint, in use until `commit`."""
        return self.folder / f".update-{update:08d}{'-interim' if interim else ''}.partial"

    def begin(self, update: int, interim: bool) -> Path:
        """Creates the temporary folder, empty, and returns it."""
        temporary = self.partial(update, interim)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        return temporary

    def commit(self, temporary: Path) -> Path:
        """Turns `temporary` into a checkpoint and removes old ones."""
        files = sorted(path for path in temporary.iterdir() if path.name != CHECKSUMS)
        for path in files:
            sync(path)
        write_json(temporary / CHECKSUMS, {path.name: sha256(path) for path in files})
        sync(temporary)
        final = self.folder / temporary.name.removeprefix(".").removesuffix(".partial")
        if final.exists():  # damaged, or later than the checkpoint that the training resumed from
            shutil.rmtree(final)
        temporary.rename(final)
        sync(self.folder)
        self._prune()
        return final

    def newest(self, report: Callable[[str], None]) -> Checkpoint | None:
        """Returns the newest intact checkpoint; reports damaged ones and removes unfinished ones."""
        self.sweep()
        for checkpoint in reversed(self.all()):
            try:
                verify(checkpoint.path)
            except DamagedCheckpoint as damage:
                report(f"checkpoint of update {checkpoint.update} is damaged ({damage}): using the previous one")
            else:
                return checkpoint
        return None

    def regular(self, before: int, count: int) -> list[Checkpoint]:
        """Returns the last `count` regular checkpoints before update `before`, oldest first."""
        regular = [checkpoint for checkpoint in self.all() if not checkpoint.interim and checkpoint.update < before]
        return regular[-count:] if count else []

    def sweep(self) -> None:
        """Removes checkpoints that a crash or a full disk left unfinished."""
        for unfinished in self.folder.glob(".update-*.partial"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def _prune(self) -> None:
        *earlier, _ = self.all()
        regular = [checkpoint for checkpoint in self.all() if not checkpoint.interim]
        for checkpoint in earlier:
            if checkpoint not in regular[-self.keep :]:
                shutil.rmtree(checkpoint.path, ignore_errors=True)


def verify(path: Path) -> None:
    """Raises `DamagedCheckpoint` unless every file matches its checksum."""
    try:
        checksums = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        for name, checksum in checksums.items():
            if sha256(path / name) != checksum:
                raise DamagedCheckpoint(f"{name} does not match its checksum")
    except FileNotFoundError as missing:
        raise DamagedCheckpoint(f"{Path(missing.filename).name} is missing") from None
    except (OSError, ValueError, AttributeError) as error:
        raise DamagedCheckpoint(str(error)) from None


def identity(run: dict[str, Any], data: dict[str, str]) -> str:
    """Returns a short hash of a resolved configuration and its corpus."""
    return hashlib.sha256(json.dumps([run, data], sort_keys=True).encode()).hexdigest()[:12]


def open_folder(folder: Path, run: dict[str, Any], data: dict[str, str], report: Callable[[str], None]) -> Path:
    """Creates the subfolder of this configuration and corpus; reports other subfolders, which it ignores, and why."""
    own = folder / identity(run, data)
    if not own.is_dir():
        for other in sorted(folder.glob("*/run.json")):
            old = json.loads(other.read_text(encoding="utf-8"))
            changes = differences({**old["run"], "corpus": old["data"]}, {**run, "corpus": data})
            report(f"ignoring the checkpoints in {other.parent}: a different configuration ({'; '.join(changes)})")
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "run.json").is_file():
        write_json(own / "run.json", {"run": run, "data": data})
    return own


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """Returns the changes between two nested mappings, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes = []
        for name in sorted(old.keys() | new.keys()):
            changes += differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
        return changes
    return [] if old == new else [f"{key}: {old!r} -> {new!r}"]


def write_error(error: OSError, folder: Path, last: Checkpoint | None) -> TrainingError:
    """Returns the one-line error for a checkpoint that could not be written."""
    resume = f"the last good checkpoint is of update {last.update}" if last else "there is no earlier checkpoint"
    reason = "no space left on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
    return TrainingError(f"{folder}: the checkpoint could not be written: {reason}; {resume}")


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and persistent buffers by name; shared parameters appear once."""
    tensors = {name: parameter.detach() for name, parameter in module.named_parameters()}
    persistent = module.state_dict(keep_vars=True).keys()
    return tensors | {name: buffer for name, buffer in module.named_buffers() if name in persistent}


def save_state(folder: Path, engine: DeepSpeedEngine, world: DistributedContext, progress: dict[str, Any]) -> None:
    """Writes this rank's part of the state to `folder`; `progress` is JSON, the same on every rank."""
    zero = engine.zero_optimization()
    own = {"rng.torch": torch.get_rng_state()}
    if world.device.type == "cuda":
        own["rng.cuda"] = torch.cuda.get_rng_state(world.device)
    if zero:
        own |= _optimizer_tensors(engine.basic_optimizer, masters=True)
    _save(folder / f"rank{world.rank}.safetensors", own)
    if not world.first:
        return
    _save(folder / "model.safetensors", module_tensors(engine.module))
    if not zero:
        _save(folder / "optimizer.safetensors", _optimizer_tensors(engine.basic_optimizer, masters=False))
    state = {
        **progress,
        "learning_rates": [group["lr"] for group in engine.basic_optimizer.param_groups],
        "schedule": engine.lr_scheduler.state_dict(),
        "scaler": _scaler_state(engine),
    }
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


def load_state(folder: Path, engine: DeepSpeedEngine, world: DistributedContext) -> dict[str, Any]:
    """Restores a saved state; returns its `progress`."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    load_module(engine.module, load_file(folder / "model.safetensors"))
    own = load_file(folder / f"rank{world.rank}.safetensors")
    zero = engine.zero_optimization()
    _load_optimizer(engine.basic_optimizer, own if zero else load_file(folder / "optimizer.safetensors"))
    for group, rate in zip(engine.basic_optimizer.param_groups, state["learning_rates"], strict=True):
        group["lr"] = rate
    engine.lr_scheduler.load_state_dict(state["schedule"])
    _load_scaler(engine, state["scaler"])
    engine.global_steps = state["update"]
    engine.global_samples = state["update"] * engine.train_batch_size()
    torch.set_rng_state(own["rng.torch"])
    if world.device.type == "cuda":
        torch.cuda.set_rng_state(own["rng.cuda"], world.device)
    return state


def load_module(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copies `tensors` into the parameters and buffers of the same names, in place."""
    with torch.no_grad():
        for name, tensor in module_tensors(module).items():
            tensor.copy_(tensors[name])


def average_weights(files: list[Path], last: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the mean of the weights in `files` and `last`, summed in fp64; integers are taken from `last`."""
    sums = {name: tensor.cpu().double() for name, tensor in last.items() if tensor.is_floating_point()}
    for file in files:
        for name, tensor in load_file(file).items():
            if name in sums:
                sums[name] += tensor
    means = {name: (total / (len(files) + 1)).to(last[name].dtype) for name, total in sums.items()}
    return last | means


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # hides an OSError such as a full disk
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_tensors(optimizer: Optimizer, masters: bool) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        if masters:
            tensors[f"optimizer.{index}.master"] = parameter
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{index}.{key}"] = value
    return tensors


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = _parameters(optimizer)
    for name, tensor in tensors.items():
        if not name.startswith("optimizer."):
            continue
        _, index, key = name.split(".")
        parameter = parameters[int(index)]
        if key == "master":
            with torch.no_grad():
                parameter.copy_(tensor)
        else:
            optimizer.state[parameter][key] = tensor.to(parameter.device)


def _scaler_state(engine: DeepSpeedEngine) -> dict[str, Any]:
    if engine.torch_autocast_z0_gradscaler is not None:
        return engine.torch_autocast_z0_gradscaler.state_dict()
    scaler = getattr(engine.optimizer, "loss_scaler", None)
    return {key: getattr(scaler, key) for key in SCALER_FIELDS if hasattr(scaler, key)}


def _load_scaler(engine: DeepSpeedEngine, state: dict[str, Any]) -> None:
    if engine.torch_autocast_z0_gradscaler is not None:
        engine.torch_autocast_z0_gradscaler.load_state_dict(state)
        return
    for key, value in state.items():
        setattr(engine.optimizer.loss_scaler, key, value)
