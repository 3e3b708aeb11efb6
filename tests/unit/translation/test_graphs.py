"""When a step is run, put down and played. What CUDA does with it is in tests/gpu."""

from __future__ import annotations

import torch

from reluformer.translation.graphs import Graph, recorder


class Diary:
    """A recorder that writes down what it was asked."""

    def __init__(self):
        self.entries = []

    def first(self, step):
        self.entries.append("first")
        step()

    def record(self, step):
        self.entries.append("record")
        return lambda: self.entries.append("play")


def test_a_step_is_run_then_put_down_then_played():
    diary = Diary()
    graph = Graph(diary)
    for _ in range(4):
        graph(lambda: diary.entries.append("step"))
    assert diary.entries == ["first", "step", "record", "play", "play", "play"]


def test_without_a_recorder_every_step_is_called():
    graph, calls = Graph(recorder(torch.device("cpu"))), []
    for i in range(3):
        graph(lambda i=i: calls.append(i))
    assert calls == [0, 1, 2]
