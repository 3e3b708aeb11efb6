from __future__ import annotations

import os
import signal

import pytest

from reluformer.training.signals import ASKING, Signals


@pytest.mark.parametrize("number", ASKING)
def test_a_signal_is_remembered(number):
    before = {each: signal.getsignal(each) for each in ASKING}
    try:
        signals = Signals()
        assert not signals.asked
        os.kill(os.getpid(), number)
        assert signals.asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
