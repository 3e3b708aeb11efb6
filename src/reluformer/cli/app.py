"""The typer application that every module of commands adds to, and the options that the commands share."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from reluformer.config.dataset import Preparation
from reluformer.config.experiment import Experiment
from reluformer.config.settings import SettingsError, parse, read_yaml

Parsed = TypeVar("Parsed", bound=BaseModel)
Function = TypeVar("Function", bound=Callable[..., Any])

app = typer.Typer(
    help="Use trained models, and run each step of the DAG without Snakemake.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PEOPLE, STEPS = "For people", "Steps of the DAG"
"""The groups of commands in the help."""

Settings = Annotated[
    str | None, typer.Option(help="The resolved settings, as JSON or a JSON file, instead of --config.")
]
Config = Annotated[
    list[str] | None, typer.Option(help="A configuration file; if repeated, each updates those before it.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; by default all.")]
RunFolder = Annotated[Path, typer.Argument(help="A run's folder, results/runs/DATASET/SYSTEM/seedN.")]
Corpora = Annotated[Path, typer.Option(help="The folder with the prepared corpora.")]

Model = Annotated[Path, typer.Argument(help="The folder of a run or of an exported model.")]
OwnCorpora = Annotated[
    Path | None,
    typer.Option("--corpora", help="The folder of the prepared corpora; by default the one next to runs/."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; by default a GPU if there is one.")]

Results = Annotated[Path, typer.Option(help="The results folder.")]

DEFAULT_CONFIG = "config/config.yaml"


def command(*examples: str, name: str | None = None, panel: str = PEOPLE) -> Callable[[Function], Function]:
    """Returns a decorator that adds a command to the application; its help ends with `examples`, command lines."""
    return app.command(name, rich_help_panel=panel, epilog="\n\n".join(["Examples:", *examples]))


step = functools.partial(command, panel=STEPS)
"""As `command`, for a step of the DAG."""


def chosen_device(name: str | None, threads: int | None) -> str:
    """Returns the device to compute on, and sets the CPU threads. Raises `SettingsError` for an unknown device."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"--device: {name!r}: {str(error).splitlines()[0]}") from None
    return name


def experiment_of(config: list[str] | None) -> Experiment:
    """Reads the experiment of --config files, or of the .json file that the workflow wrote.

    Raises `SettingsError`.
    """
    files = config or [DEFAULT_CONFIG]
    if len(files) == 1 and files[0].endswith(".json"):
        whole = read_yaml(files[0])
        if whole.keys() == {"config", "folder", "name"}:
            return Experiment(whole["config"], whole["folder"], whole["name"])
    return Experiment.from_files(DEFAULT_CONFIG, *[file for file in files if file != DEFAULT_CONFIG])


def parse_settings(model: type[Parsed], settings: str) -> Parsed:
    """Parses --settings, a JSON object or the path of a JSON file, as a `model`. Raises `SettingsError`."""
    if not settings.lstrip().startswith(("{", "[")):
        return parse(model, read_yaml(settings), f"--settings {settings}")
    try:
        data = json.loads(settings)
    except ValueError as error:
        raise SettingsError(f"--settings: not valid JSON: {error}") from None
    return parse(model, data, "--settings")


def preparation_of(settings: str | None, dataset: str | None, config: list[str] | None) -> Preparation:
    """Returns a corpus's settings from JSON, or by the dataset's name from the configuration files."""
    if settings is not None:
        return parse_settings(Preparation, settings)
    if dataset is None:
        raise SettingsError("name a dataset or pass --settings")
    return experiment_of(config).dataset(dataset).preparation()


def typed_text(text: str) -> str:
    """Decodes text from the command line as UTF-8, whatever the locale. Raises `SettingsError` if it is not UTF-8."""
    try:
        return text.encode("utf-8", errors="surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{text!r}: not UTF-8 text ({error.reason})") from None
