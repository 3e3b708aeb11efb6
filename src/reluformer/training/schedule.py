"""Learning-rate schedules: linear warm-up, then a decay."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from reluformer.config.training import TrainingConfig


def factor(config: TrainingConfig, update: int) -> float:
    """The learning rate of update `update` (from 0), as a share of the peak.

    Warm-up rises linearly to 1 in `warmup` updates. Then inverse-sqrt falls as 1/√update ("Attention Is All You Need",
    section 5.3), cosine and linear fall to 0 at the last update.
    """
    step, warmup = update + 1, config.warmup
    if step < warmup:
        return step / warmup
    if config.schedule == "inverse-sqrt":
        return math.sqrt(max(warmup, 1) / step)
    done = min(1.0, (step - warmup) / max(1, config.updates - warmup))
    return 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done


def build_schedule(optimizer: Optimizer, config: TrainingConfig) -> LambdaLR:
    """`factor` as a torch scheduler; its `step` is called once an update."""
    return LambdaLR(optimizer, lambda update: factor(config, update))
