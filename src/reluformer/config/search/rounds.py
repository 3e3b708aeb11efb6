"""One system's search on one dataset as runs: their names, their scores on disk, and the file with the choice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reluformer.config.changes import apply_changes, join_system, paths_of, split_system
from reluformer.config.run import Run, RunConfig
from reluformer.config.search.search import Point, Score, Step, budget, identity, plain, search
from reluformer.config.settings import SettingsError, Strict, read_path
from reluformer.files import write_json

BEST_GUESS = 1e6
"""The BLEU of what `expected_rounds` takes for the best: ahead of every real one."""


class Search(Strict):
    """What decides a search: the run that it starts from (with the tuning's seed and recipe), and the grid."""

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
        """Runs before any widening."""
        return budget(self.grid, self.start)

    @property
    def where(self) -> str:
        """What error messages call this search."""
        return f"tuning of {self.run.dataset}/{self.system}"

    def run_at(self, point: Point) -> Run:
        """The run of a point. Every key is in its name: what the system has by itself is tuned, too."""
        changes = {**dict(sorted(point.items())), **recipe_of(self.run)}
        return Run(self.run.dataset, join_system(self.system, changes), self.run.seed)

    def first_runs(self) -> list[Run]:
        """The runs of the first round."""
        return [self.run_at(point) for point in self.step({}).points]

    def resolve(self, point: Point) -> RunConfig:
        """The configuration of a point's run. Raises `SettingsError` for a value that is not valid."""
        return self.run.with_parts(apply_changes(self.run.parts(), point, self.where), self.where)

    def allowed(self, point: Point) -> bool:
        """Whether a point's values are valid."""
        try:
            self.resolve(point)
        except SettingsError:
            return False
        return True

    def step(self, scores: Mapping[str, Score], widen: bool = True) -> Step:
        """Where the search stands."""
        return search(self.grid, self.start, scores, self.allowed if widen else lambda point: False)


def recipe_of(run: RunConfig) -> dict[str, Any]:
    """`{"recipe": NAME}` of a run's name, or {}."""
    return {key: value for key, value in split_system(run.system).changes.items() if key == "recipe"}


def read_score(summary: Path) -> Score | None:
    """The score of a run by its summary.json; None where there is none yet. Raises `SettingsError`."""
    try:
        found = json.loads(summary.read_text(encoding="utf-8"))
        return Score(found.get("best_valid_bleu"), found.get("best_valid_loss"), found["status"] == "diverged")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError):
        raise SettingsError(f"{summary}: not the summary of a run") from None


def replay(one: Search, results: Path, rounds: int | None = None) -> dict[str, Any]:
    """What a search has found after `rounds` rounds, from the summaries of its runs; None: after its last.

    Returns:
        the content of the choice's file: `dataset`, `system`, `seed`, `recipe`, the `grid`, the system's own values
        (`start`), `widened` values, `edges` (keys whose best value is at the edge all the same), every run with its
        changes, round and scores, the `next` runs, and the `choice`: its `changes`, run and scores, or null.

    Raises:
        SettingsError: where a run of these rounds has not been trained.
    """
    scores: dict[str, Score] = {}
    runs: dict[str, dict[str, Any]] = {}
    done = 0
    while (step := one.step(scores)).points and done != rounds:
        for point in step.points:
            run = one.run_at(point)
            score = read_score(results / "runs" / run.path / "summary.json")
            if score is None:
                raise SettingsError(f"{one.where}: {run.path} has not been trained")
            scores[identity(point)] = score
            status = "diverged" if score.diverged else "finished"
            shown = {"status": status, "validation_bleu": score.bleu, "validation_loss": score.loss}
            runs[identity(point)] = {"run": run.path, "round": done, "changes": point, **shown}
        done += 1
    chosen = runs[identity(step.choice)] if step.choice is not None else None
    return {
        "dataset": one.run.dataset,
        "system": one.system,
        "seed": one.run.seed,
        "recipe": recipe_of(one.run).get("recipe"),
        "grid": one.grid,
        "start": one.start,
        "widened": step.widened,
        "edges": step.edges,
        "runs": list(runs.values()),
        "next": [one.run_at(point).path for point in step.points],
        "choice": {key: value for key, value in chosen.items() if key != "round"} if chosen else None,
    }


def write_round(one: Search, results: Path, rounds: int | None, output: Path) -> None:
    """Writes what `replay` finds."""
    write_json(output, replay(one, results, rounds))


def expected_rounds(one: Search, results: Path | None = None) -> list[dict[Run, RunConfig]]:
    """The runs of a search round by round: those that its scores so far ask for, then a guess.

    The guess takes the system's own value for the best of its key, else the middle one, and widens nothing.
    results: where the runs' summaries are; None: guess all.
    """
    scores: dict[str, Score] = {}
    rounds: list[dict[Run, RunConfig]] = []
    step = one.step(scores)
    guessed = False
    while step.points:
        own = [point for point in step.points if point[step.axis] == one.start.get(step.axis)]
        best = (own or step.points[len(step.points) // 2 :])[0]
        rounds.append({})
        for point in step.points:
            run = one.run_at(point)
            rounds[-1][run] = one.resolve(point).model_copy(update={"system": run.system})
            score = read_score(results / "runs" / run.path / "summary.json") if results else None
            guessed |= score is None
            scores[identity(point)] = score or Score(BEST_GUESS if point == best else -1.0)
        step = one.step(scores, widen=not guessed)
    return rounds
