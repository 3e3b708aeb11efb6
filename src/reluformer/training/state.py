"""The state of a training as tensors (safetensors) and JSON; nothing is pickled.

model.safetensors       weights and buffers
optimizer.safetensors   ZeRO 0: the Adam moments
rank<r>.safetensors     each rank: random generators; ZeRO 1 and 2: its part of the moments and fp32 weights
state.json              update, schedule, loss scaler, position in the data, log and stopping rules
"""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

import torch
from deepspeed import DeepSpeedEngine
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from reluformer.training.distributed import DistributedContext

SCALER_FIELDS = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and persistent buffers by name, a shared parameter once."""
    tensors = {name: parameter.detach() for name, parameter in module.named_parameters()}
    persistent = module.state_dict(keep_vars=True).keys()
    return tensors | {name: buffer for name, buffer in module.named_buffers() if name in persistent}


def save_state(folder: Path, engine: DeepSpeedEngine, world: DistributedContext, progress: dict[str, Any]) -> None:
    """Writes this rank's part of the state to `folder`; `progress` is JSON, the same in every rank."""
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
    """Returns the mean of the weights in `files` and of `last`, summed in fp64; integers are those of `last`."""
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
