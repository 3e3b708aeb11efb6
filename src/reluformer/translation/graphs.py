"""A step that works in place, put down once as a CUDA graph and played again: one launch instead of hundreds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

Step = Callable[[], None]


class GraphCapture(Protocol):
    """How steps are run for the first time and put down."""

    def first(self, step: Step) -> None:
        """Runs a step whose libraries and kernels may not be ready yet."""

    def record(self, step: Step) -> Step:
        """Puts a step down, which need not run it; what is given back runs it."""


class CudaRecorder:
    """CUDA graphs of one device, which share the memory of what is computed between."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()
        self.aside = torch.cuda.Stream(device)

    def first(self, step: Step) -> None:
        """On a stream of its own, as capturing asks for; autotuned kernels are tuned here."""
        with torch.cuda.device(self.device):
            here = torch.cuda.current_stream()
            self.aside.wait_stream(here)
            with torch.cuda.stream(self.aside):
                step()
            here.wait_stream(self.aside)

    def record(self, step: Step) -> Step:
        """The graph's replay. RuntimeError: the step waits for a value, or does something else no graph can hold."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph, pool=self.pool, stream=self.aside):
            step()
        return graph.replay


def recorder(device: torch.device) -> GraphCapture | None:
    """Graphs on CUDA; none elsewhere, where every step is called."""
    return CudaRecorder(device) if device.type == "cuda" else None


class Graph:
    """Runs a step that reads and writes the same memory at each call: run, then put down, then played.

    No run is wasted on warming up, and what is needed once only is not put down.
    """

    def __init__(self, recorder: GraphCapture | None) -> None:
        self._recorder = recorder
        self._warm = False
        self._replay: Step | None = None

    def __call__(self, step: Step) -> None:
        """Does what `step` does; all calls are given the same."""
        if self._recorder is None:
            step()
        elif not self._warm:
            self._recorder.first(step)
            self._warm = True
        else:
            if self._replay is None:
                self._replay = self._recorder.record(step)
            self._replay()
