"""When jobs end on so many devices: list scheduling, and the chain that no number of devices makes shorter."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple


class Task(NamedTuple):
    """A job with its cost. `slots` are the devices (or cores) that it holds; with none, it waits for tasks alone."""

    name: str
    seconds: float
    slots: int
    after: tuple[str, ...] = ()


def makespan(tasks: Sequence[Task], slots: int) -> float:
    """Seconds until the last task ends, where a free slot takes the first task that is ready, in their order."""
    if not tasks:
        return 0.0
    waits = {task.name: len(task.after) for task in tasks}
    followers: dict[str, list[int]] = defaultdict(list)
    for index, task in enumerate(tasks):
        for name in task.after:
            followers[name].append(index)
    ready = [index for index, task in enumerate(tasks) if not task.after]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now, free = 0.0, slots
    while ready or running:
        held = []
        while ready:
            index = heapq.heappop(ready)
            needs = min(tasks[index].slots, slots)
            if needs > free:
                held.append(index)
                continue
            free -= needs
            heapq.heappush(running, (now + tasks[index].seconds, index))
        for index in held:
            heapq.heappush(ready, index)
        now, index = heapq.heappop(running)
        free += min(tasks[index].slots, slots)
        for follower in followers[tasks[index].name]:
            name = tasks[follower].name
            waits[name] -= 1
            if not waits[name]:
                heapq.heappush(ready, follower)
    return now


def critical_path(tasks: Sequence[Task]) -> list[Task]:
    """The longest chain of tasks that wait for each other, in order; `tasks` come after what they wait for."""
    by_name = {task.name: task for task in tasks}
    ends: dict[str, float] = {}
    last: dict[str, str | None] = {}
    for task in tasks:
        before = max(task.after, key=lambda name: ends[name], default=None)
        last[task.name] = before
        ends[task.name] = task.seconds + (ends[before] if before else 0.0)
    at: str | None = max(ends, key=lambda name: ends[name], default=None)
    chain = []
    while at is not None:
        chain.append(by_name[at])
        at = last[at]
    return chain[::-1]
