"""A plan that rests on this machine: how many devices it has, and what was measured on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from reluformer.cli.planning.kinds import Kind
from reluformer.cli.planning.measure import SECONDS, measure
from reluformer.cli.planning.plan import Basis
from reluformer.cli.planning.sizes import Sizes
from reluformer.training.devices import visible_devices
from reluformer.training.summary import machine, versions


def on_this_machine(
    kinds: Mapping[str, Kind], sizes: Mapping[str, Sizes], devices: int | None, tell: Callable[[str], None]
) -> tuple[Basis, int]:
    """Measures every kind here; the basis of a plan, and the devices (else cores) to plan for."""
    gpus = len(visible_devices())
    cores = len(os.sched_getaffinity(0))
    at_once = 1 if gpus else min(devices or cores, cores)
    found = measure(kinds, sizes, at_once, tell)
    here = machine()
    names = here["gpus"] or [f"{here['cpu']}, a core"]
    clock = "by the clock" if gpus else "in CPU time, so whatever else this machine does is left out"
    notes = sorted({f"{kinds[key].name}: {rates.note}" for key, rates in found.rates.items() if rates.note})
    words = [
        f"Measured on this machine ({names[0]}; torch {versions()['torch']}), {at_once} at a time, {clock}: for each "
        f"of {len(kinds)} kinds of run about {SECONDS:.0f} s of updates and one batch of decoding, with random weights "
        "and made-up text of the corpus's lengths.",
        "The start of a job was measured for train (a whole one) and as the imports of the others; scoring and the "
        "paired tests on made-up text. What the job `measure` takes follows from its systems' rates.",
        *notes,
    ]
    return Basis(found.rates, found.starts, found.scoring, words, names[0], bool(gpus)), devices or gpus or cores
