"""The search for a system's constants: coordinate search over a grid of short runs, ranked by validation BLEU.

The values of the first key are tried with the system's own values of the other keys, those of the second with the
best of the first, and so on. No point is run twice. If the best value of a numeric key is at the edge of its values,
the next value beyond it by the same ratio is tried, at most `WIDEN` times per side. `search` takes and returns plain
values; `Search` names the runs and reads their scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reluformer.config.changes import apply_changes, join_system, paths_of, read_path, split_system
from reluformer.config.run import Run, RunConfig, read_summary
from reluformer.config.settings import SettingsError, Strict

Axes = Mapping[str, Sequence[Any]]
"""Key -> the values to try, in the order in which the keys are searched."""
Point = dict[str, Any]
"""A value for each key."""

WIDEN = 2
"""The most values added beyond one side of an axis."""
BEST_GUESS = 1e6
"""The BLEU of the point that `expected_rounds` guesses to be best: above every real one."""


class Score(NamedTuple):
    """The score of a run: its best validation BLEU, then its best validation loss (nats per token)."""

    bleu: float | None = None
    loss: float | None = None
    diverged: bool = False

    @property
    def rank(self) -> tuple[float, float] | None:
        """Greater is better; None for a run that diverged, which cannot be chosen."""
        if self.diverged or (self.bleu is None and self.loss is None):
            return None
        return -math.inf if self.bleu is None else self.bleu, -math.inf if self.loss is None else -self.loss


@dataclass(frozen=True)
class Step:
    """The state of a search: the points to run next, or, if none is left, the choice.

    Attributes:
        points: to run next; empty once the search has ended.
        choice: the best point; None while there are points to run, and if every run diverged.
        axis: the key whose values are tried; empty once the search has ended.
        widened: the values added to each axis.
        edges: axes whose best value is still at the edge after widening.
    """

    points: list[Point]
    choice: Point | None = None
    axis: str = ""
    widened: dict[str, list[Any]] = field(default_factory=dict)
    edges: list[str] = field(default_factory=list)


def identity(point: Mapping[str, Any]) -> str:
    """Returns a string that identifies a point: 1.0 and 1 are equal, and the order of keys does not matter."""
    return json.dumps({key: plain(value) for key, value in point.items()}, sort_keys=True)


def plain(value: Any) -> Any:
    """Returns a whole number as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def search(
    axes: Axes,
    start: Mapping[str, Any],
    scores: Mapping[str, Score],
    allowed: Callable[[Point], bool] = lambda point: True,
) -> Step:
    """Returns the state of a search given the scores so far.

    Args:
        axes: the grid.
        start: the system's own values of the keys; a key without a single value may be missing.
        scores: by `identity` of the point.
        allowed: whether a widened point is valid; widening stops at a key's bounds.
    """
    point = dict(start)
    widened: dict[str, list[Any]] = {}
    edges: list[str] = []
    for number, (key, listed) in enumerate(axes.items()):
        tried = list(listed)
        if number and key in start and not _contains(tried, start[key]):
            tried.append(start[key])
        added: list[Any] = []
        while True:
            candidates = [{**point, key: value} for value in tried]
            if missing := [candidate for candidate in candidates if identity(candidate) not in scores]:
                return Step(missing, axis=key, widened=widened, edges=edges)
            ranked = [
                (rank, value)
                for candidate, value in zip(candidates, tried, strict=True)
                if (rank := scores[identity(candidate)].rank) is not None
            ]
            if not ranked:
                return Step([], widened=widened, edges=edges)
            best = max(ranked, key=lambda pair: pair[0])[1]  # the first of equals
            value = beyond(best, tried)
            if value is None:
                break
            middle = next(number for number in tried if _is_number(number))
            same_side = [number for number in added if (number > middle) == (value > middle)]
            if len(same_side) >= WIDEN or not allowed({**point, key: value}):
                edges.append(key)
                break
            tried.append(value)
            added.append(value)
            widened[key] = added
        point[key] = best
    return Step([], choice=point, widened=widened, edges=edges)


def beyond(best: Any, tried: Sequence[Any]) -> Any:
    """Extends an axis beyond `best`, its smallest or largest number, by the ratio of the last two.

    Returns None if `best` is inside the axis, is not a number, or has no positive neighbour.
    """
    numbers = sorted({value for value in tried if _is_number(value)})
    if not _is_number(best) or len(numbers) < 2 or best not in (numbers[0], numbers[-1]):
        return None
    neighbour = numbers[1] if best == numbers[0] else numbers[-2]
    if min(best, neighbour) <= 0:
        return None
    return plain(float(f"{best * best / neighbour:.3g}"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _contains(values: Sequence[Any], value: Any) -> bool:
    return any(identity({"": other}) == identity({"": value}) for other in values)


class Search(Strict):
    """A search: the run that it starts from (with the seed and recipe of the tuning), and the grid."""

    run: RunConfig
    axes: list[tuple[str, list[Any]]]

    @property
    def grid(self) -> dict[str, list[Any]]:
        """Key -> values, in the order in which the keys are searched."""
        return dict(self.axes)

    @property
    def system(self) -> str:
        """The system's name, without changes."""
        return split_system(self.run.system).base

    @property
    def path(self) -> str:
        """The file of the choice, under results/."""
        return f"tuning/{self.run.dataset}/{self.system}.json"

    @property
    def where(self) -> str:
        """The name of the search in error messages."""
        return f"tuning of {self.run.dataset}/{self.system}"

    @property
    def start(self) -> Point:
        """The system's own value of each key; a key that has several, or none, is left out."""
        parts = self.run.parts()
        point: Point = {}
        for key in self.grid:
            values = [plain(read_path(parts, path)) for path in paths_of(key, parts, self.where)]
            if values[0] is not None and all(value == values[0] for value in values):
                point[key] = values[0]
        return point

    @property
    def budget(self) -> int:
        """The number of runs before any widening; after the first key, the system's own value costs no run."""
        start = self.start
        known = [key in start and _contains(values, start[key]) for key, values in self.axes[1:]]
        return sum(len(values) for _, values in self.axes) - sum(known)

    def tries(self, run: Run) -> bool:
        """Returns whether a run belongs to this search: same dataset, system and seed."""
        own = (self.run.dataset, self.system, self.run.seed)
        return (run.dataset, split_system(run.system).base, run.seed) == own

    def run_at(self, point: Point) -> Run:
        """Returns the run of a point. Its name has every key, including those with the system's own value."""
        changes = {**dict(sorted(point.items())), **split_system(self.run.system).recipe}
        return Run(self.run.dataset, join_system(self.system, changes), self.run.seed)

    def first_runs(self) -> list[Run]:
        """Returns the runs of the first round."""
        return [self.run_at(point) for point in self.step({}).points]

    def resolve(self, point: Point) -> RunConfig:
        """Returns the configuration of a point's run. Raises `SettingsError` for an invalid value."""
        return self.run.with_parts(apply_changes(self.run.parts(), point, self.where), self.where)

    def step(self, scores: Mapping[str, Score], widen: bool = True) -> Step:
        """Returns the state of the search."""

        def allowed(point: Point) -> bool:
            try:
                self.resolve(point)
            except SettingsError:
                return False
            return widen

        return search(self.grid, self.start, scores, allowed)

    def read_score(self, point: Point, results: Path) -> Score | None:
        """Reads the score of a point's run from its summary; None if there is none yet. Raises `SettingsError`."""
        summary = read_summary(results / "runs" / self.run_at(point).path)
        if summary is None:
            return None
        return Score(summary.get("best_valid_bleu"), summary.get("best_valid_loss"), summary["status"] == "diverged")


def replay(search: Search, results: Path, rounds: int | None = None) -> dict[str, Any]:
    """Replays a search from the summaries of its runs, for `rounds` rounds; None: to its end.

    Returns:
        the content of the choice's file: `dataset`, `system`, `seed`, `recipe`, the `grid`, the system's own values
        (`start`), `widened` values, `edges` (keys whose best value is still at the edge), every run with its
        changes, round and scores, the `next` runs, and the `choice`: its `changes`, run and scores, or null.

    Raises:
        SettingsError: a run of these rounds has not been trained.
    """
    scores: dict[str, Score] = {}
    runs: dict[str, dict[str, Any]] = {}
    done = 0
    while (step := search.step(scores)).points and done != rounds:
        for point in step.points:
            run = search.run_at(point)
            score = search.read_score(point, results)
            if score is None:
                raise SettingsError(f"{search.where}: {run.path} has not been trained")
            scores[identity(point)] = score
            status = "diverged" if score.diverged else "finished"
            shown = {"status": status, "validation_bleu": score.bleu, "validation_loss": score.loss}
            runs[identity(point)] = {"run": run.path, "round": done, "changes": point, **shown}
        done += 1
    chosen = runs[identity(step.choice)] if step.choice is not None else None
    return {
        "dataset": search.run.dataset,
        "system": search.system,
        "seed": search.run.seed,
        "recipe": split_system(search.run.system).changes.get("recipe"),
        "grid": search.grid,
        "start": search.start,
        "widened": step.widened,
        "edges": step.edges,
        "runs": list(runs.values()),
        "next": [search.run_at(point).path for point in step.points],
        "choice": {key: value for key, value in chosen.items() if key != "round"} if chosen else None,
    }


def expected_rounds(search: Search, results: Path | None = None) -> list[dict[Run, RunConfig]]:
    """Returns the runs of a search by round: those that the scores so far lead to, then a guess.

    The guess assumes that the system's own value is best, else the middle one, and widens nothing.
    results: the folder with the runs; None: guess all.
    """
    scores: dict[str, Score] = {}
    rounds: list[dict[Run, RunConfig]] = []
    step = search.step(scores)
    guessed = False
    while step.points:
        own = [point for point in step.points if point[step.axis] == search.start.get(step.axis)]
        best = (own or step.points[len(step.points) // 2 :])[0]
        rounds.append({})
        for point in step.points:
            run = search.run_at(point)
            rounds[-1][run] = search.resolve(point).model_copy(update={"system": run.system})
            score = search.read_score(point, results) if results else None
            guessed |= score is None
            scores[identity(point)] = score or Score(BEST_GUESS if point == best else -1.0)
        step = search.step(scores, widen=not guessed)
    return rounds
