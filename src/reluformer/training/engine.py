"""The DeepSpeed engine of one training, from its `TrainingConfig`."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, NamedTuple

import deepspeed
import deepspeed.ops
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.zero.utils import ZERO_SUPPORTED_OPTIMIZERS
from torch import Tensor, nn
from torch.optim import AdamW

from reluformer.config.training import TrainingConfig
from reluformer.training.schedule import build_schedule

BUCKET = 1 << 23
"""Gradients that are reduced at once. DeepSpeed's default, 5e8, holds whole models, so that nothing would overlap, and
takes 2 GB of memory, twice that with an overlap."""

AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}


class LightAdamW(AdamW):
    """AdamW without the decorators that load torch's compiler: a second of every start, and nothing compiles here."""

    add_param_group = inspect.unwrap(AdamW.add_param_group)
    step = torch.no_grad()(inspect.unwrap(AdamW.step))


ZERO_SUPPORTED_OPTIMIZERS.append(LightAdamW)  # as AdamW is


class DistributedContext(NamedTuple):
    """This process among the processes of the training."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes; the same tensor where there is one process."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def broadcast(self, number: int) -> int:
        """The first process's number, in all of them."""
        tensor = torch.tensor([number], device=self.device)
        if self.size > 1:
            torch.distributed.broadcast(tensor, 0)
        return int(tensor.item())

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.size > 1:
            torch.distributed.barrier()


def join_world() -> DistributedContext:
    """Joins the processes that torchrun started: NCCL between GPUs, gloo between CPUs."""
    # DeepSpeed's own operators are not used: nothing is to be compiled, and no compiler is looked for.
    deepspeed.ops.__compatible_ops__ = {}
    deepspeed.init_distributed(get_accelerator().communication_backend_name(), verbose=False)
    local = int(os.environ["LOCAL_RANK"])
    device = torch.device("cpu")
    if get_accelerator().device_name() != "cpu":
        get_accelerator().set_device(local)
        device = torch.device(get_accelerator().device_name(local))
    return DistributedContext(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)


def engine_config(config: TrainingConfig, world: DistributedContext, tensorboard: Path | None) -> dict[str, Any]:
    """DeepSpeed's configuration.

    Mixed precision is torch's autocast with fp32 weights: the softmax, the normalisations and the logarithms of Eq. 7
    stay in fp32, and the weights in a checkpoint are the fp32 ones for every precision. DeepSpeed sees batches of one
    "sample": their true size in tokens is divided out of the loss (`loop`).

    ZeRO 1 and 2 reduce gradients while backward runs, bucket by bucket, where there are several GPUs; ZeRO 0 cannot, it
    reduces them all after it; gloo between CPUs would compute beside it on the same cores. ZeRO 0 does not clip either:
    `clip_gradients` does.
    """
    overlap = config.zero_stage > 0 and world.size > 1 and world.device.type == "cuda"
    result: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.clip_norm if config.zero_stage else 0.0,
        "zero_optimization": {
            "stage": config.zero_stage,
            "overlap_comm": overlap,
            "reduce_bucket_size": BUCKET,
        },
        "steps_per_print": None,
        "wall_clock_breakdown": False,
        "timers": {"throughput": {"enabled": False}},
    }
    if config.precision in AUTOCAST:
        result["torch_autocast"] = {"enabled": True, "dtype": AUTOCAST[config.precision]}
    if tensorboard is not None:
        result["tensorboard"] = {
            "enabled": True,
            "output_path": str(tensorboard.parent),
            "job_name": tensorboard.name,
        }
    return result


def build_engine(
    module: nn.Module, config: TrainingConfig, world: DistributedContext, tensorboard: Path | None = None
) -> deepspeed.DeepSpeedEngine:
    """`module` on its device, with AdamW (fused) and the schedule, in a DeepSpeed engine.

    Args:
        module: what an update calls; it returns losses.
        config: the recipe.
        world: from `join_world`.
        tensorboard: the folder of event files, or none.
    """
    module.to(world.device)
    optimizer = LightAdamW(
        module.parameters(),
        lr=config.learning_rate,
        betas=config.adam_betas,
        weight_decay=config.weight_decay,
        fused=True,
    )
    schedule = build_schedule(optimizer, config)
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=optimizer,
        lr_scheduler=schedule,
        config=engine_config(config, world, tensorboard),
        dist_init_required=False,
    )
    if world.size == 1 and config.zero_stage == 0:
        engine.enable_backward_allreduce = False  # else gradients are copied to a flat buffer and back for nothing
    return engine


def clip_gradients(engine: deepspeed.DeepSpeedEngine, norm: float) -> None:
    """Clips the gradients of ZeRO 0 to a norm, between the last backward of an update and its step.

    DeepSpeed would make two tensors of numbers for it, and the host would wait for their copies to a GPU.
    """
    if engine.torch_autocast_z0_gradscaler is not None:
        engine.torch_autocast_z0_gradscaler.unscale_(engine.optimizer)
    torch.nn.utils.clip_grad_norm_(engine.module.parameters(), norm)


def gradient_norm(engine: deepspeed.DeepSpeedEngine) -> float:
    """The gradient's norm before clipping: of ZeRO 0 between backward and step, of ZeRO 1 and 2 after the step."""
    if engine.zero_optimization():
        return float(engine.get_global_grad_norm())
    gradients = [parameter.grad for parameter in engine.module.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).item()
    scaler = engine.torch_autocast_z0_gradscaler
    return norm / scaler.get_scale() if scaler is not None else norm
