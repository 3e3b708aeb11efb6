"""Every command, YAML and Python block of the documentation is run, or checked by a rule; one without a rule fails.

- `snakemake ...` is planned (`-n`) in a copy of the project: its options, configuration and targets are real.
- `reluformer ...` is parsed by the command line itself: the command, its options and their values are real.
- `make TARGET` is expanded by make; `pytest ...` collects; `pip install -r FILE` names a file that is there.
- Programs of others (EXTERNAL) are named with what they are for.
- YAML is read by the configuration's own classes, Python is run.
- What names `square-relu` is taken as the steps that it is by test_add_a_system.py.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import typer
import yaml

from reluformer.cli import main as command_line
from reluformer.cli.app import app
from reluformer.corpus.config import CorpusConfig
from reluformer.experiment import DatasetConfig, Experiment, SystemConfig
from reluformer.run import Run
from reluformer.settings import merge, parse, read_yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:snakemake|reluformer|make|(?:\.venv/bin/)?pytest) [^`]+)`(?!`)")
SHELL = ("sh", "bash", "console")
EXTERNAL = {
    "git": "fetches the project",
    "cd": "goes there",
    "tmux": "keeps a terminal",
    "sinfo": "SLURM",
    "squeue": "SLURM",
    "scontrol": "SLURM",
    "scancel": "SLURM",
    "sacctmgr": "SLURM",
    "export": "sets a variable",
    "echo": "prints its words",
    "cat": "prints a file",
}


class Block(NamedTuple):
    """A fenced block: its page, its language, its text."""

    page: str
    language: str
    text: str


def blocks() -> list[Block]:
    return [Block(page.name, *match) for page in PAGES for match in FENCE.findall(page.read_text(encoding="utf-8"))]


def commands() -> list[str]:
    """Every command line of the pages, once: those of the blocks, and those in running text and tables."""
    found = [
        line
        for block in blocks()
        if block.language in SHELL
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.split("#")[0].strip()
    ]
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        found += [" ".join(command.split()) for command in INLINE.findall(text)]
    single = [words for line in found for words in split(line)]
    return list(dict.fromkeys(shlex.join(words) for words in single if "square-relu" not in " ".join(words)))


def split(line: str) -> list[list[str]]:
    """The commands of a line, at &&, ; and |, without comments and redirections."""
    lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    parts: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in ("&&", ";", "|", "&", "||"):
            parts.append([])
        elif word in (">", ">>", "<"):
            next(words)
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def test_every_block_has_a_rule():
    known = {*SHELL, "yaml", "python", "text"}
    assert [block for block in blocks() if block.language not in known] == []


def test_the_first_screen_has_exactly_two_commands():
    first = FENCE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert first is not None
    assert [words for line in first[2].splitlines() for words in split(line)] == [["make", "demo"], ["make", "test"]]


def test_the_pages_have_commands():
    assert len(commands()) > 25 and "make demo" in commands()


@pytest.mark.parametrize("command", commands())
def test_a_command(command, project):
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    program = Path(words[0]).name
    if program == "reluformer":
        parses(words[1:])
    elif program == "snakemake":
        plans(words[1:], project)
    elif program == "make":
        assignments = [word for word in words[1:] if "=" in word]
        assert len(words) > 1 + len(assignments)
        expanded = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=20)
        assert expanded.returncode == 0, expanded.stderr
    elif program == "pytest":
        collected = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *words[1:]],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
        )
        assert collected.returncode == 0
    elif program == "pip":
        assert words[1] == "install"
        for flag, file in itertools.pairwise(words):
            assert flag not in ("-r", "-e") or (ROOT / file).exists()
    elif program in ("python3", "python"):
        assert words[1:] == ["-m", "venv", ".venv"]
    elif words[0] == ".":
        assert words[1] == ".venv/bin/activate"
    elif program in ("torchrun", "tensorboard"):
        assert (Path(sys.executable).parent / program).is_file()
        assert (
            subprocess.run([program, "--helpfull" if program == "tensorboard" else "--help"], **quiet()).returncode == 0
        )
    else:
        assert program in EXTERNAL, f"no rule for {program!r}: run it, or say in EXTERNAL what it is for"


def quiet() -> dict:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"capture_output": True, "timeout": 60, "env": {**os.environ, "PATH": path}}


def parses(arguments: list[str]) -> None:
    """A command line of `reluformer` that its own parser takes; nothing is run."""
    command_line.run(["--help"])  # brings the commands into the application
    group = typer.main.get_command(app)
    with click.Context(group, info_name="reluformer") as context:
        if arguments[:1] and arguments[0].startswith("-"):
            assert arguments[0] in {option for parameter in group.get_params(context) for option in parameter.opts}
            return
        name, command, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
        assert command is not None, f"there is no command {name!r}"
        if "--help" not in rest:
            command.make_context(name, rest, parent=context)


def plans(arguments: list[str], project) -> None:
    """A command line of snakemake whose jobs can be planned in a copy of the project."""
    (project.folder / "DIR").mkdir()
    cleaned = []
    skip = False
    for word in arguments:
        if not skip and word not in ("--cores", "..."):
            cleaned.append(word)
        skip = word == "--cores"
    result = project.snakemake("-n", *cleaned, timeout=90)
    assert result.returncode == 0, result.stdout[-2000:]


CONFIGURATION = [block for block in blocks() if block.language == "yaml" and "square-relu" not in block.text]


@pytest.mark.parametrize("block", CONFIGURATION, ids=lambda block: f"{block.page}:{block.text[:20]}")
def test_a_yaml_block_is_configuration(block):
    data = yaml.safe_load(block.text)
    paper = read_yaml(ROOT / "config" / "config.yaml")
    if {"src", "tgt", "corpus"} <= data.keys():
        parse(DatasetConfig, data, block.page)
    elif data.keys() <= CorpusConfig.model_fields.keys():  # a part of a corpus
        whole = next(yaml.safe_load(b.text)["corpus"] for b in blocks() if b.page == block.page and "corpus:" in b.text)
        parse(CorpusConfig, {**whole, **data}, block.page)
    elif data.keys() <= paper.keys():
        Experiment(merge(paper, data), ROOT / "config")
    else:
        systems = {name: parse(SystemConfig, system, block.page) for name, system in data.items()}
        experiment = Experiment(paper, ROOT / "config")
        experiment.systems.update(systems)
        for name in systems:
            assert experiment.resolve(Run("iwslt14", name, 1)).model.places()


def test_python_is_on_pages_that_a_test_runs():
    pages = {block.page for block in blocks() if block.language == "python"}
    assert pages == {"add-a-system.md", "paper.md"}  # test_add_a_system.py, unit/model/test_paper_page.py


def test_links_between_the_pages_lead_somewhere():
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
