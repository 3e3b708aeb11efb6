"""One process of a training, run by `conftest.Training` in a fork of the server (not a test)."""

from __future__ import annotations

import os
import sys

import torch

from reluformer.training.stopping import Signals
from reluformer.training.worker import main

parameters = globals()  # set by `runpy.run_path`
os.environ.update({key: str(value) for key, value in parameters["environment"].items()})
sys.stderr = sys.stdout = open(parameters["log"], "a", buffering=1)  # noqa: SIM115, PTH123
torch.set_num_threads(1)
os._exit(main(parameters["arguments"], Signals()))
