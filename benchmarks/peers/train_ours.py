"""Our training as another worker: the store, the sampler, the engine and the steps of `Trainer`.

Unlike the peers' `update`, ours also times building the batch and reducing the losses.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import torch
from protocol import serve

from reluformer.config.run import RunConfig
from reluformer.model.objective import Objective
from reluformer.model.transformer import Transformer
from reluformer.ops.process import keep_freed_memory
from reluformer.training.checkpoints import Checkpoints
from reluformer.training.data import open_data
from reluformer.training.distributed import join_world
from reluformer.training.engine import build_engine
from reluformer.training.log import RunLog
from reluformer.training.loop import Trainer
from reluformer.training.stopping import Signals


class Ours:
    """Serves `build`, `update` and `gpu_memory`."""

    def build(self, run: dict[str, Any], corpora: str, folder: str) -> int:
        """Builds the trainer of a run; returns the number of parameters."""
        config = RunConfig.model_validate(run)
        world = join_world()
        torch.manual_seed(config.seed)
        objective = Objective(Transformer(config.model), config.training.label_smoothing)
        engine = build_engine(objective, config.training, world)
        path = Path(folder)
        self.trainer = Trainer(
            config.training,
            engine,
            world,
            open_data(Path(corpora), config),
            config.seed,
            RunLog(path, config.training.updates, active=False),
            Checkpoints(path, 1),
            Signals(),
            time.time(),
        )
        engine.train()
        return sum(parameter.numel() for parameter in objective.parameters())

    def update(self) -> float:
        """Returns the seconds of the next update."""
        begin = time.perf_counter()
        rate, _ = self.trainer.step(next(self.trainer.loader))
        if self.trainer.update % self.trainer.reduce_every == 0:
            self.trainer.reduce_losses(rate)
        if self.trainer.world.device.type != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    def gpu_memory(self) -> float:
        """Returns the largest memory that torch had allocated on the GPU, MB."""
        return torch.cuda.max_memory_allocated() / 2**20


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
keep_freed_memory()  # as reluformer.training.worker
ours = Ours()
serve({"build": ours.build, "update": ours.update, "gpu_memory": ours.gpu_memory})
