"""One process of a training, run by `conftest.Training` in a process forked from the server (not a test)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import torch

from reluformer.training.signals import Signals
from reluformer.training.worker import main

if TYPE_CHECKING:
    environment: dict[str, object]
    arguments: list[str]
    log: str

os.environ.update({key: str(value) for key, value in environment.items()})
sys.stderr = sys.stdout = open(log, "a", buffering=1)  # noqa: SIM115, PTH123
torch.set_num_threads(1)
os._exit(main(arguments, Signals()))
