from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from reluformer.config.training import TrainingConfig
from reluformer.training.engine import BUCKET, DistributedContext, LightAdamW, clip_gradients, engine_config

ALONE = DistributedContext(0, 1, torch.device("cpu"))
START = """
import os, sys
os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
os.environ["DS_ACCELERATOR"] = "cpu"
import torch
from reluformer.config.training import TrainingConfig
from reluformer.training.engine import build_engine, join_world
engine = build_engine(torch.nn.Linear(3, 3), TrainingConfig(), join_world())
engine.backward(engine(torch.ones(1, 3)).sum(), scale_wrt_gas=False)
engine.step()
heavy = {"torch._dynamo", "sympy", "tensorboard", "pandas", "matplotlib"} & set(sys.modules)
sys.exit(f"a start must not import {heavy}" if heavy else 0)
"""


def test_a_start_imports_nothing_heavy():
    assert subprocess.run([sys.executable, "-c", START], check=False).returncode == 0


def test_light_adamw_is_adamw():
    results = []
    for kind in (torch.optim.AdamW, LightAdamW):
        torch.manual_seed(0)
        module = torch.nn.Linear(4, 4)
        optimizer = kind(module.parameters(), lr=0.1, weight_decay=0.01, fused=True)
        for step in range(5):
            module(torch.full((2, 4), float(step))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(module.weight.detach().clone())
    assert torch.equal(*results)


def test_configuration():
    config = TrainingConfig(accumulation=3, clip_norm=0.5, zero_stage=2, precision="bf16")
    made = engine_config(config, ALONE, Path("a/tensorboard"))
    assert made["gradient_accumulation_steps"] == 3 and made["gradient_clipping"] == 0.5
    assert made["zero_optimization"]["stage"] == 2
    assert made["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert made["tensorboard"] == {"enabled": True, "output_path": "a", "job_name": "tensorboard"}
    plain = engine_config(TrainingConfig(), ALONE, None)
    assert "torch_autocast" not in plain and "tensorboard" not in plain


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("size", [1, 4])
def test_gradients_are_reduced_while_backward_runs_between_gpus(stage, device, size):
    zero = engine_config(TrainingConfig(zero_stage=stage), DistributedContext(0, size, torch.device(device)), None)[
        "zero_optimization"
    ]
    assert zero["overlap_comm"] == (stage > 0 and device == "cuda" and size > 1)
    assert zero["reduce_bucket_size"] == BUCKET


def test_zero_0_clips_by_itself():
    clipping = {stage: engine_config(TrainingConfig(zero_stage=stage, clip_norm=0.5), ALONE, None) for stage in (0, 1)}
    assert [clipping[stage]["gradient_clipping"] for stage in (0, 1)] == [0.0, 0.5]
    for gradient, norm in ((3.0, 0.5), (0.1, 0.2)):
        module = torch.nn.Linear(4, 1, bias=False)
        module.weight.grad = torch.full((1, 4), gradient)
        clip_gradients(SimpleNamespace(module=module, torch_autocast_z0_gradscaler=None), 0.5)
        assert module.weight.grad.norm().item() == pytest.approx(norm, rel=1e-5)


def test_scaled_gradients_are_clipped_to_what_they_stand_for():
    module = torch.nn.Linear(4, 1, bias=False)
    optimizer = LightAdamW(module.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(module(torch.full((1, 4), 3.0)).sum()).backward()
    clip_gradients(SimpleNamespace(module=module, optimizer=optimizer, torch_autocast_z0_gradscaler=scaler), 0.5)
    assert module.weight.grad.norm().item() == pytest.approx(0.5, rel=1e-5)
