"""Every command, YAML and Python block of the documentation is run or checked by a rule; one without a rule fails.

- `snakemake ...` is planned (`-n`) in a copy of the project, with its options, configuration and targets.
- `reluformer ...` is parsed by the command line itself, so the command, its options and their values are valid.
- `make TARGET` is expanded by make; `pytest ...` collects; `pip install -r FILE` names an existing file.
- Other programs are listed in EXTERNAL with their purpose.
- YAML is parsed by the configuration classes, Python is run.
- Blocks that name `relu15` are run as a sequence by test_add_a_system.py.
"""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
import yaml
from snakemake.cli import get_argument_parser
from tensorboard.plugins.core.core_plugin import CorePluginLoader

from reluformer.cli import main as command_line
from reluformer.cli.app import app
from reluformer.config.dataset import CorpusConfig, DatasetConfig
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.config.settings import merge, parse, read_yaml
from reluformer.config.systems import SystemConfig

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:\.venv/bin/)?(?:snakemake|reluformer|make|pytest) [^`]+)`(?!`)")
SHELL = ("sh", "bash", "console")
EXTERNAL = {
    "git": "fetches the project",
    "cd": "goes there",
    "cp": "copies",
    "tmux": "keeps a terminal",
    "sinfo": "SLURM",
    "squeue": "SLURM",
    "scontrol": "SLURM",
    "scancel": "SLURM",
    "sacctmgr": "SLURM",
    "export": "sets a variable",
    "echo": "prints its words",
    "cat": "prints a file",
    "uv": "a package manager, in place of pip",
}


TABLE = "results/paper/tables/ffn-activation.csv"


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def blocks() -> list[Block]:
    return [Block(page.name, *match) for page in PAGES for match in FENCE.findall(page.read_text(encoding="utf-8"))]


def commands() -> list[str]:
    """Returns the distinct commands of the pages, from blocks, running text and tables."""
    lines = [
        line
        for block in blocks()
        if block.language in SHELL
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.split("#")[0].strip()
    ]
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        lines += [" ".join(command.split()) for command in INLINE.findall(text)]
    single = [words for line in lines for words in split(line)]
    return list(dict.fromkeys(shlex.join(words) for words in single if "relu15" not in " ".join(words)))


def split(line: str) -> list[list[str]]:
    """Splits a line into its commands at &&, ; and |, without comments and redirections."""
    lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    parts: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in ("&&", ";", "|", "&", "||"):
            parts.append([])
        elif word in (">", ">>", "<"):
            next(words)
        elif parts[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):  # skips variables set before a command
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


def commands_of(*programs: str) -> list[str]:
    """Returns the commands that run one of these programs."""
    return [command for command in commands() if program_of(command) in programs]


def program_of(command: str) -> str:
    return shlex.split(command)[0].rpartition("/")[2]


def test_every_program_has_a_rule():
    ruled = {"reluformer", "snakemake", "make", "pytest", "pip", "python3", "tensorboard", ".", *EXTERNAL}
    assert set(map(program_of, commands())) <= ruled, "run it, or say in EXTERNAL what it is for"
    assert commands_of(".") == [". .venv/bin/activate"]
    assert commands_of("python3") == ["python3 -m venv .venv"]


@pytest.mark.parametrize("command", commands_of("reluformer"))
def test_the_command_line_takes_it(command):
    """Parses the command without running it."""
    command_line.run(["--help"])  # registers the commands
    group = typer.main.get_command(app)
    with group.make_context("reluformer", [], resilient_parsing=True) as context:
        first, *rest = shlex.split(command)[1:]
        if first.startswith("-"):
            assert first in {option for parameter in group.get_params(context) for option in parameter.opts} | {
                "--help"
            }
            return
        named = group.get_command(context, first)  # type: ignore[attr-defined]
        assert named is not None, f"there is no command {first!r}"
        if "--help" not in rest:
            named.make_context(first, rest, parent=context)


@pytest.mark.parametrize("command", commands_of("make"))
def test_make_runs_it_though_a_folder_has_its_name(command):
    """`make record` was up to date once `.venv` was older than the folder `record`, and did nothing."""
    words = shlex.split(command)
    assert any("=" not in word for word in words[1:])
    made = [f"--old-file={file}" for file in (".venv/.runtime", ".venv/.dev", ".venv-peers/.made")]
    expanded = subprocess.run(["make", "-n", *made, *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert expanded.returncode == 0, expanded.stderr
    assert "up to date" not in expanded.stdout


def test_pip_installs_files_that_are_there():
    for command in commands_of("pip"):
        words = shlex.split(command)
        assert words[1] == "install"
        assert all((ROOT / file).exists() for flag, file in itertools.pairwise(words) if flag in ("-r", "-e"))


def test_tensorboard_takes_it():
    for command in commands_of("tensorboard"):
        parser = argparse.ArgumentParser()
        CorePluginLoader().define_flags(parser)
        assert parser.parse_args(shlex.split(command)[1:]).logdir


@pytest.mark.slow
@pytest.mark.parametrize("command", commands_of("pytest"))
def test_pytest_finds_tests(command):
    words = shlex.split(command)[1:]
    assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
    if "-k" in words:
        collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *words]
        assert subprocess.run(collect, cwd=ROOT, capture_output=True).returncode == 0


def plans() -> dict[tuple[str, ...], list[str]]:
    """Maps the options of the snakemake commands to the targets requested with them."""
    targets: dict[tuple[str, ...], list[str]] = {}
    for command in commands_of("snakemake"):
        words = shlex.split(command)[1:]
        parsed = get_argument_parser().parse_args(words)
        options = [word for word in words if word not in (*parsed.targets, "--", "-n")]
        if "--cores" in options:
            del options[options.index("--cores") : options.index("--cores") + 2]
        targets.setdefault(tuple(word for word in options if word != "..."), []).extend(parsed.targets)
    return targets


@pytest.mark.slow
@pytest.mark.parametrize("options", plans(), ids=lambda options: " ".join(options) or "no options")
def test_snakemake_can_plan_it(options, project):
    """Plans commands without a target for one table, as test_dry_run.py plans the whole paper."""
    if "conda" in options and shutil.which("conda") is None:
        pytest.skip("conda is not installed, and Snakemake asks it even for a plan")
    (project.folder / "DIR").mkdir()
    targets = [target for target in plans()[options] if target != "..."]
    result = project.snakemake("-n", *options, "--", *(targets or [TABLE]))
    assert result.returncode == 0, result.stdout[-2000:]


CONFIGURATION = [block for block in blocks() if block.language == "yaml" and "relu15" not in block.text]


@pytest.mark.parametrize("block", CONFIGURATION, ids=lambda block: f"{block.page}:{block.text[:20]}")
def test_a_yaml_block_is_configuration(block):
    data = yaml.safe_load(block.text)
    paper = read_yaml(ROOT / "config" / "config.yaml")
    if {"src", "tgt", "corpus"} <= data.keys():
        parse(DatasetConfig, data, block.page)
    elif data.keys() <= CorpusConfig.model_fields.keys():  # part of a corpus
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
    # test_add_a_system.py, unit/model/test_paper_page.py, unit/export/huggingface/
    assert pages == {"add-a-system.md", "paper.md", "export.md"}


def test_links_between_the_pages_lead_somewhere():
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
