from __future__ import annotations

import math

import pytest
import torch

from reluformer.config.training import TrainingConfig
from reluformer.training.schedule import build_schedule, factor


@pytest.mark.parametrize("schedule", ["inverse-sqrt", "cosine", "linear"])
def test_warm_up_is_linear_and_ends_at_the_peak(schedule):
    config = TrainingConfig(schedule=schedule, warmup=10, updates=100)
    assert [factor(config, update) for update in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])


def test_decays():
    config = TrainingConfig(schedule="inverse-sqrt", warmup=10, updates=100)
    assert factor(config, 39) == pytest.approx(0.5)
    cosine = config.model_copy(update={"schedule": "cosine"})
    assert factor(cosine, 54) == pytest.approx(0.5) and factor(cosine, 99) == pytest.approx(0, abs=1e-12)
    linear = config.model_copy(update={"schedule": "linear"})
    assert factor(linear, 54) == pytest.approx(0.5) and factor(linear, 99) == 0


def test_no_warm_up_starts_at_the_peak():
    assert factor(TrainingConfig(warmup=0), 0) == 1
    assert factor(TrainingConfig(warmup=0), 3) == pytest.approx(1 / math.sqrt(4))


def test_schedule_sets_the_rate():
    config = TrainingConfig(learning_rate=0.2, warmup=4)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    schedule = build_schedule(optimizer, config)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2 * math.sqrt(4 / 5)])
