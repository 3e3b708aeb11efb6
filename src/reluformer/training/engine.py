"""The DeepSpeed engine of a training run: optimizer, learning-rate schedule, compilation, gradient clipping."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.zero.utils import ZERO_SUPPORTED_OPTIMIZERS
from entmax import entmax15, sparsemax
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from reluformer.config.training import TrainingConfig
from reluformer.model.example import ragged_batch, small_reluformer
from reluformer.model.transformer import Transformer
from reluformer.ops.paths import distrust, require_close, trusted
from reluformer.training.distributed import DistributedContext

BUCKET = 1 << 23
"""Gradients reduced at once. DeepSpeed's default of 5e8 takes 2 GB and holds whole models, so nothing would overlap."""

AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}


class LightAdamW(AdamW):
    """AdamW without the decorators that import torch's compiler, which takes a second."""

    add_param_group = inspect.unwrap(AdamW.add_param_group)
    step = torch.no_grad()(inspect.unwrap(AdamW.step))


ZERO_SUPPORTED_OPTIMIZERS.append(LightAdamW)


def rate_factor(config: TrainingConfig, update: int) -> float:
    """Returns the learning rate of update `update` (from 0) as a fraction of the peak.

    Warm-up rises linearly to 1 in `warmup` updates. Then inverse-sqrt falls as 1/√update ("Attention Is All You Need",
    section 5.3); cosine and linear fall to 0 at the last update.
    """
    step, warmup = update + 1, config.warmup
    if step < warmup:
        return step / warmup
    if config.schedule == "inverse-sqrt":
        return math.sqrt(max(warmup, 1) / step)
    done = min(1.0, (step - warmup) / max(1, config.updates - warmup))
    return 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done


def engine_config(config: TrainingConfig, world: DistributedContext, tensorboard: Path | None) -> dict[str, Any]:
    """Returns DeepSpeed's configuration.

    Mixed precision is torch's autocast with fp32 weights: softmax, normalisations and the logarithms of Eq. 7 stay in
    fp32, and checkpoints hold fp32 weights at every precision. DeepSpeed's batch size is 1 because the loop divides
    the loss by the target tokens.

    ZeRO 1 and 2 overlap gradient reduction with the backward pass on GPUs; on CPUs gloo would compete for the cores.
    ZeRO 0 neither overlaps nor clips: see `clip_gradients`.
    """
    overlap = config.zero_stage > 0 and world.size > 1 and world.device.type == "cuda"
    result: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.clip_norm if config.zero_stage else 0.0,
        "zero_optimization": {"stage": config.zero_stage, "overlap_comm": overlap, "reduce_bucket_size": BUCKET},
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
    """Moves `module` to the device and wraps it in a DeepSpeed engine with fused AdamW and the schedule.

    tensorboard: the folder for event files; None writes none.
    """
    module.to(world.device)
    optimizer = LightAdamW(
        module.parameters(),
        lr=config.learning_rate,
        betas=config.adam_betas,
        weight_decay=config.weight_decay,
        fused=True,
    )
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=optimizer,
        lr_scheduler=LambdaLR(optimizer, lambda update: rate_factor(config, update)),
        config=engine_config(config, world, tensorboard),
        dist_init_required=False,
    )
    if world.size == 1 and config.zero_stage == 0:
        engine.enable_backward_allreduce = False  # would copy the gradients to a flat buffer and back
    return engine


def compile_forward(model: Transformer, **options: Any) -> None:
    """Compiles `model.forward_with_penalty` at its first call with gradients; `options` go to `torch.compile`.

    Shapes are dynamic: batches have 3 % padding, which static buckets would multiply. Parameters keep their names.
    The loss, a loop over tiles of logits, stays eager.
    """
    for projection in (sparsemax, entmax15):
        torch.compiler.allow_in_graph(projection)  # autograd functions that the compiler cannot trace
    torch._dynamo.config.specialize_float = True  # keeps dropout rates constant; as symbols they cost a second trace
    eager, device = model.forward_with_penalty, next(model.parameters()).device.type
    compiled = torch.compile(eager, dynamic=True, **options)

    def forward(src: Tensor, src_mask: Tensor, tgt_in: Tensor, tgt_mask: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled() and trusted("compile", device):
            try:
                return compiled(src, src_mask, tgt_in, tgt_mask)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # the compiler's or its code's; eager raises the model's own
                distrust("compile", device, error)
        return eager(src, src_mask, tgt_in, tgt_mask)

    model.forward_with_penalty = forward  # type: ignore[method-assign]


def prove_compiled(device: str, **options: Any) -> None:
    """Compares a small model's loss and gradients with and without compilation; a proof of `ops.paths`."""
    model = small_reluformer(device)
    tokens, mask = ragged_batch(device)

    def results() -> list[Tensor]:
        hidden, penalty = model.forward_with_penalty(tokens, mask, tokens, mask)
        loss = hidden.square().mean() + penalty
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)]

    expected = results()
    compile_forward(model, **options)
    names = ("the loss", *(name for name, _ in model.named_parameters()))
    for name, compiled, eager in zip(names, results(), expected, strict=True):
        require_close(name, compiled, eager, 1e-3)


def clip_gradients(engine: deepspeed.DeepSpeedEngine, norm: float) -> None:
    """Clips the gradients of ZeRO 0 to `norm`; called between an update's last backward pass and its step.

    DeepSpeed's own clipping copies two numbers to a GPU and waits for them.
    """
    if engine.torch_autocast_z0_gradscaler is not None:
        engine.torch_autocast_z0_gradscaler.unscale_(engine.optimizer)
    torch.nn.utils.clip_grad_norm_(engine.module.parameters(), norm)


def gradient_norm(engine: deepspeed.DeepSpeedEngine) -> float:
    """Returns the gradient norm before clipping. Call it before the step for ZeRO 0, after it for ZeRO 1 and 2."""
    if engine.zero_optimization():
        return float(engine.get_global_grad_norm())
    gradients = [parameter.grad for parameter in engine.module.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).item()
    scaler = engine.torch_autocast_z0_gradscaler
    return norm / scaler.get_scale() if scaler is not None else norm
