from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
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


def test_dies_with_its_parent():
    child = "from reluformer.training.signals import die_with_parent; die_with_parent(); import time; time.sleep(60)"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"]
    )
    end = time.monotonic() + 20
    while not (children := psutil.Process(parent.pid).children()) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(1)  # for the child to come as far as to ask the kernel
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(children, timeout=10)[1] == []
