from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from reluformer.config.model import ModelConfig
from reluformer.config.settings import merge
from reluformer.config.systems import SystemConfig
from reluformer.config.training import TrainingConfig
from reluformer.memory import modules as memories
from reluformer.memory import read as reading
from reluformer.model.transformer import Transformer
from reluformer.ops import dropout, heads, linear
from reluformer.training.distributed import DistributedContext
from reluformer.training.engine import (
    BUCKET,
    LightAdamW,
    clip_gradients,
    compile_forward,
    engine_config,
    rate_factor,
)

ALONE = DistributedContext(0, 1, torch.device("cpu"))
SYSTEMS = yaml.safe_load((Path(__file__).parents[3] / "config" / "systems.yaml").read_text(encoding="utf-8"))
SMALL = {"encoder_layers": 1, "decoder_layers": 1, "width": 24, "heads": 3, "slots": 32, "vocabulary": 40}
SHAPES = [((7, 3, 5, 2), (4, 6, 2, 9)), ((8, 3, 5, 4, 10), (4, 6, 2, 7, 12)), ((9, 8, 4), (3, 9, 9))]
MIXED = {
    "encoder.0.attention": {"activation": "entmax15"},
    "encoder.0.ffn": {"activation": "sparsemax"},
    "decoder.0.attention": {"options": {"gamma": "learned"}},
    "decoder.0.cross_attention": {"activation": "softmax"},
}

START = """
import os, sys
os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
os.environ["DS_ACCELERATOR"] = "cpu"
import torch
from reluformer.config.training import TrainingConfig
from reluformer.training.distributed import join_world
from reluformer.training.engine import build_engine
engine = build_engine(torch.nn.Linear(3, 3), TrainingConfig(), join_world())
engine.backward(engine(torch.ones(1, 3)).sum(), scale_wrt_gas=False)
engine.step()
heavy = {"torch._dynamo", "sympy", "tensorboard", "pandas", "matplotlib"} & set(sys.modules)
sys.exit(f"a start must not import {heavy}" if heavy else 0)
"""


@pytest.mark.slow
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
    result = engine_config(config, ALONE, Path("a/tensorboard"))
    assert result["gradient_accumulation_steps"] == 3 and result["gradient_clipping"] == 0.5
    assert result["zero_optimization"]["stage"] == 2
    assert result["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert result["tensorboard"] == {"enabled": True, "output_path": "a", "job_name": "tensorboard"}
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


def test_without_zero_gradients_are_clipped_outside_of_deepspeed():
    clipping = {stage: engine_config(TrainingConfig(zero_stage=stage, clip_norm=0.5), ALONE, None) for stage in (0, 1)}
    assert [clipping[stage]["gradient_clipping"] for stage in (0, 1)] == [0.0, 0.5]
    for gradient, norm in ((3.0, 0.5), (0.1, 0.2)):
        module = torch.nn.Linear(4, 1, bias=False)
        module.weight.grad = torch.full((1, 4), gradient)
        clip_gradients(SimpleNamespace(module=module, torch_autocast_z0_gradscaler=None), 0.5)
        assert module.weight.grad.norm().item() == pytest.approx(norm, rel=1e-5)


def test_scaled_gradients_are_clipped_by_their_unscaled_norm():
    module = torch.nn.Linear(4, 1, bias=False)
    optimizer = LightAdamW(module.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(module(torch.full((1, 4), 3.0)).sum()).backward()
    clip_gradients(SimpleNamespace(module=module, optimizer=optimizer, torch_autocast_z0_gradscaler=scaler), 0.5)
    assert module.weight.grad.norm().item() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("schedule", ["inverse-sqrt", "cosine", "linear"])
def test_warm_up_is_linear_and_ends_at_the_peak(schedule):
    config = TrainingConfig(schedule=schedule, warmup=10, updates=100)
    assert [rate_factor(config, update) for update in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])


def test_decays():
    config = TrainingConfig(schedule="inverse-sqrt", warmup=10, updates=100)
    assert rate_factor(config, 39) == pytest.approx(0.5)
    cosine = config.model_copy(update={"schedule": "cosine"})
    assert rate_factor(cosine, 54) == pytest.approx(0.5) and rate_factor(cosine, 99) == pytest.approx(0, abs=1e-12)
    linear = config.model_copy(update={"schedule": "linear"})
    assert rate_factor(linear, 54) == pytest.approx(0.5) and rate_factor(linear, 99) == 0


def test_no_warm_up_starts_at_the_peak():
    assert rate_factor(TrainingConfig(warmup=0), 0) == 1
    assert rate_factor(TrainingConfig(warmup=0), 3) == pytest.approx(1 / math.sqrt(4))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Takes the GPU code paths on a CPU."""
    monkeypatch.setenv("RELUFORMER_KERNEL", "reference")
    monkeypatch.setattr(dropout, "can_drop", lambda x, added: False)
    monkeypatch.setattr(dropout, "_in_torch", torch.nn.functional.dropout)
    monkeypatch.setattr(memories, "split_heads", heads._views)
    for module in (reading, linear):
        monkeypatch.setattr(module, "worthwhile", lambda x, weight: False)
    torch._dynamo.reset()


def build(system, **changes):
    memory = SystemConfig(**SYSTEMS[system]).memories()
    torch.manual_seed(1)
    model = Transformer(ModelConfig(**merge(merge(SMALL, memory), changes))).train()
    model.embeddings.positions(20)
    return model


def batch(src_lengths, tgt_lengths):
    sides = []
    for lengths in (src_lengths, tgt_lengths):
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        sides += [torch.randint(5, 40, mask.shape) * mask, mask]
    return sides


def learned(model, inputs):
    """Returns hidden states, penalty and all gradients."""
    torch.manual_seed(len(inputs[0]))  # seeds dropout
    hidden, penalty = model.forward_with_penalty(*inputs)
    gradients = torch.autograd.grad(hidden.square().sum() + penalty, list(model.parameters()), allow_unused=True)
    return [hidden, penalty, *gradients]


@pytest.mark.slow
@pytest.mark.usefixtures("as_on_a_gpu")
def test_one_graph_for_all_shapes():
    """The compiled forward pass is one graph, without generated code, and computes what the eager one does."""
    changes = {"norm": "pre", "dropout": 0.1, "attention_dropout": 0.2, "layers": MIXED}
    plain, compiled = build("reluformer", **changes), build("reluformer", **changes)
    compile_forward(compiled, fullgraph=True, backend="aot_eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch._dynamo.utils.counters.clear()
    for shape in SHAPES:
        inputs = batch(*shape)
        torch.testing.assert_close(learned(compiled, inputs), learned(plain, inputs), rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    with torch.no_grad():  # a validation compiles nothing
        for actual, expected in zip(
            *(model.eval().forward_with_penalty(*inputs) for model in (compiled, plain)), strict=True
        ):
            assert torch.equal(actual, expected)
