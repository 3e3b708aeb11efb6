"""Smoke test of the training stack: two updates of a small ReLUFormer in every process.

    torchrun --nproc-per-node 2 -m reluformer.training.self_test OUTPUT.json

Each process has its own data, so equal weights after an update show that gradients were exchanged.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import deepspeed
import torch
from torch.nn.utils import parameters_to_vector

from reluformer.config.training import TrainingConfig
from reluformer.files import write_json
from reluformer.model.example import SMALL
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer
from reluformer.training.distributed import join_world
from reluformer.training.engine import build_engine

PAIRS, LENGTH = 8, 12


def main(output: Path) -> int:
    """Writes the result as JSON; returns 1 if the processes' weights differ or did not change."""
    started = time.monotonic()
    world = join_world()
    torch.manual_seed(1)
    objective = Objective(Transformer(SMALL), 0.1)
    engine = build_engine(objective, TrainingConfig(updates=2, warmup=0), world)
    before = parameters_to_vector(engine.module.parameters()).detach().clone()
    torch.manual_seed(2 + world.rank)
    ids = torch.randint(5, SMALL.vocabulary, (PAIRS, LENGTH), device=world.device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    for _ in range(2):
        losses = engine(ids, mask, ids, ids, mask)
        engine.backward(losses.loss_sum / losses.tokens + losses.penalty, scale_wrt_gas=False)
        engine.step()
    after = parameters_to_vector(engine.module.parameters()).detach()
    first = after.clone()
    torch.distributed.broadcast(first, 0)
    difference = world.sum((after - first).abs().max())
    change = (after - before).abs().max()
    good = bool(difference == 0) and bool(change > 0) and bool(torch.isfinite(after).all())
    if world.first:
        result = {
            "processes": world.size,
            "device": world.device.type,
            "backend": torch.distributed.get_backend(),
            "deepspeed": deepspeed.__version__,
            "good": good,
            "seconds": time.monotonic() - started,
        }
        write_json(output, result)
    world.barrier()
    return 0 if good else 1


if __name__ == "__main__":
    CODE = main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(CODE)
