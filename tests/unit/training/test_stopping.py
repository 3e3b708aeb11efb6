from __future__ import annotations

import math
import os
import signal

import pytest

from reluformer.training.stopping import STOP_SIGNALS, Divergence, EarlyStopping, Signals


def test_nan_and_infinity_are_divergence_at_once():
    for loss in (math.nan, math.inf):
        rule = Divergence(10.0, 5)
        assert not rule.judge(1, 3.0)
        assert rule.judge(2, loss) and rule.at == 2


def test_a_high_loss_has_to_last():
    rule = Divergence(10.0, 3)
    losses = [11, 11, 9, 11, 11, 11]
    assert [rule.judge(i, float(loss)) for i, loss in enumerate(losses)] == [False] * 5 + [True]
    assert rule.at == 5


def test_divergence_resumes_from_its_state():
    rule = Divergence(10.0, 2)
    rule.judge(1, 11.0)
    assert Divergence(10.0, 2, over=rule.over).judge(2, 11.0)


def test_early_stopping_counts_validations_without_improvement():
    rule = EarlyStopping(2)
    assert [rule.judge(value) for value in (3.0, 2.0, 2.5, 1.9, 2.0, 1.9)] == [False] * 5 + [True]
    assert not any(EarlyStopping(0).judge(1.0) for _ in range(9))


def test_early_stopping_resumes():
    rule = EarlyStopping(1)
    assert not rule.judge(11.0) and not rule.judge(10.0)
    other = EarlyStopping(1, best=rule.best, waited=rule.waited)
    assert other.judge(10.1) and other.best == 10.0


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_remembered(number):
    before = {stop_signal: signal.getsignal(stop_signal) for stop_signal in STOP_SIGNALS}
    try:
        signals = Signals()
        assert not signals.received
        os.kill(os.getpid(), number)
        assert signals.received
    finally:
        for stop_signal, handler in before.items():
            signal.signal(stop_signal, handler)
