"""The steps of the DAG.

Each step takes its settings either fully resolved, as `--settings FILE` (from Snakemake), or from the configuration
files (`--config`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reluformer.cli.app import (
    Config,
    Corpora,
    Results,
    RunFolder,
    Settings,
    Threads,
    experiment_of,
    parse_settings,
    preparation_of,
    step,
)
from reluformer.config.dataset import ArchiveConfig
from reluformer.config.evaluation import Tokenizer
from reluformer.config.run import Run, RunConfig
from reluformer.config.settings import SettingsError


@step('reluformer fetch --output resources/text.gz --settings \'{"name": "text.gz", "urls": ["https://..."]}\'')
def fetch(
    output: Annotated[Path, typer.Option(help="The file to write, under its published name.")],
    settings: Annotated[str, typer.Option(help="The archive's settings, as JSON or a JSON file: name, urls, sha256.")],
    archives: Annotated[
        Path | None, typer.Option(envvar="RELUFORMER_ARCHIVES", help="A folder searched before the network.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Prefer a file in a folder of this name.")] = "",
) -> None:
    """Fetch an archive from a folder or its mirrors: verified, resumed, written atomically."""
    from reluformer.corpus.fetch import fetch as fetch_archive
    from reluformer.files import exclusive

    archive = parse_settings(ArchiveConfig, settings)
    with exclusive(output.parent / archive.name, wait=True):
        print(fetch_archive(archive, output.parent, archives and archives.expanduser(), dataset))


@step("reluformer prepare resources/*.whl --dataset demo-sentences --config config/demo.yaml --output OUT")
def prepare(
    archives: Annotated[list[Path], typer.Argument(help="The corpus's archives, as fetched.")],
    output: Annotated[Path, typer.Option(help="The corpus's folder, results/corpora/DATASET.")],
    settings: Settings = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset of the configuration.")] = None,
    config: Config = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Clean, tokenise, segment and store one corpus."""
    from reluformer.corpus.prepare import prepare as prepare_corpus
    from reluformer.files import exclusive, require_own_folder

    chosen = preparation_of(settings, dataset, config)
    with exclusive(require_own_folder(output)):
        prepare_corpus(chosen.corpus, chosen.src, chosen.tgt, archives, output, workers)


@step("reluformer pack --corpus results/corpora/europarl7 --dataset europarl7 --packing within --length 128")
def pack(
    corpus: Annotated[Path, typer.Option(help="The prepared corpus's folder.")],
    packing: Annotated[str, typer.Option(help="within or across documents.")],
    length: Annotated[int, typer.Option(min=1, help="L, the most tokens of a segment.")],
    settings: Settings = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset of the configuration.")] = None,
    config: Config = None,
) -> None:
    """Pack a prepared document corpus into segments of at most L tokens."""
    from reluformer.corpus.pack import pack as pack_corpus
    from reluformer.files import exclusive

    chosen = preparation_of(settings, dataset, config)
    with exclusive(corpus / f"{packing}-{length}"):
        pack_corpus(chosen.corpus, chosen.src, chosen.tgt, corpus, packing, length)


@step("reluformer corpus-page results/corpora/iwslt14 --output iwslt14.html", name="corpus-page")
def corpus_page(
    corpus: Annotated[Path, typer.Argument(help="The prepared corpus's folder.")],
    output: Annotated[Path, typer.Option(help="The HTML file to write.")],
    view: Annotated[
        list[str] | None, typer.Option(help="A packed view to list, e.g. within-128; may be repeated.")
    ] = None,
    note: Annotated[str, typer.Option(help="A line under the title.")] = "",
) -> None:
    """Write a page of a corpus's sources, lengths, and counts at every cleaning step."""
    from reluformer.paper.pages import write_corpus_page

    output.parent.mkdir(parents=True, exist_ok=True)
    write_corpus_page(corpus, view or [], output, note)


@step("reluformer train iwslt14/reluformer/seed1", "reluformer train iwslt14/reluformer+gamma=0.5/seed1 --threads 4")
def train(
    run: Annotated[str | None, typer.Argument(help="DATASET/SYSTEM/seedN, e.g. iwslt14/reluformer/seed1.")] = None,
    settings: Settings = None,
    config: Config = None,
    corpora: Corpora = Path("results/corpora"),
    output: Annotated[Path | None, typer.Option(help="The run's folder; by default results/runs/RUN.")] = None,
    checkpoints: Annotated[Path, typer.Option(help="The folder of checkpoints.")] = Path("checkpoints"),
    choice: Annotated[
        Path | None, typer.Option(help="The tuned values written by `tune`; by default those of the run's system.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Train a run; resume from its last checkpoint if there is one."""
    from reluformer.config.tuning import apply_choice, read_choice
    from reluformer.files import require_own_folder
    from reluformer.training.launch import launch

    if settings is not None:
        resolved = parse_settings(RunConfig, settings)
    elif run is not None:
        experiment = experiment_of(config)
        resolved = experiment.resolve(Run.parse(run))
        choice = choice or experiment.tuning.choice_file(Run.parse(run), Path("results"))
    else:
        raise SettingsError("name a run (DATASET/SYSTEM/seedN) or pass --settings")
    if choice is not None:
        resolved = apply_choice(resolved, read_choice(choice))
    path = Run(resolved.dataset, resolved.system, resolved.seed).path
    folder = require_own_folder(output or Path("results/runs") / path)
    code = launch(resolved, corpora, folder, checkpoints / path, threads)
    raise typer.Exit(code)


@step("reluformer tune iwslt14/reluformer", "reluformer tune iwslt14/reluformer --rounds 1")
def tune(
    system: Annotated[str | None, typer.Argument(help="DATASET/SYSTEM, e.g. iwslt14/reluformer.")] = None,
    settings: Settings = None,
    config: Config = None,
    rounds: Annotated[int | None, typer.Option(min=0, help="Rounds of runs to use; by default all.")] = None,
    results: Results = Path("results"),
    output: Annotated[
        Path | None, typer.Option(help="The file to write; by default results/tuning/DATASET/SYSTEM.json.")
    ] = None,
) -> None:
    """Rank a system's tuning runs by validation BLEU: write the choice, or with --rounds what to train next."""
    from reluformer.config.search import Search, replay
    from reluformer.files import write_json

    if settings is not None:
        search = parse_settings(Search, settings)
    elif system is not None:
        dataset, slash, name = system.partition("/")
        if not slash or "/" in name:
            raise SettingsError(f"{system!r}: a tuned system is named DATASET/SYSTEM, e.g. iwslt14/reluformer")
        tuned = experiment_of(config).tuning.search(dataset, name)
        if tuned is None:
            raise SettingsError(f"{system} is not tuned: `tuning` does not name it")
        search = tuned
    else:
        raise SettingsError("name a system (DATASET/SYSTEM) or pass --settings")
    write_json(output or results / search.path, replay(search, results, rounds))


@step("reluformer translate-run results/runs/iwslt14/reluformer/seed1", name="translate-run")
def translate_run(run: RunFolder, corpora: Corpora = Path("results/corpora"), threads: Threads = None) -> None:
    """Translate the test split with a trained run."""
    from reluformer.translation.step import translate_run as translate

    translate(run, corpora, threads)


@step("reluformer score results/runs/iwslt14/reluformer/seed1")
def score(
    run: RunFolder,
    corpora: Corpora = Path("results/corpora"),
    tokenizer: Annotated[
        Tokenizer | None, typer.Option(help="sacreBLEU's tokeniser; by default that of the target language.")
    ] = None,
) -> None:
    """Score a run's translations: BLEU, tokenised BLEU, chrF, by length."""
    from reluformer.cli.models import warn
    from reluformer.evaluation.score import score_run

    score_run(run, corpora, tokenizer, warn)


@step("reluformer analyse results/runs/iwslt14/reluformer/seed1")
def analyse(run: RunFolder, corpora: Corpora = Path("results/corpora"), threads: Threads = None) -> None:
    """Measure a trained run's memories over the test split."""
    from reluformer.analysis.step import analyse_run

    analyse_run(run, corpora, threads)


@step("reluformer variance-law --output law.json", name="variance-law")
def variance_law(
    output: Annotated[Path, typer.Option(help="The JSON file to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the Gaussian inputs.")] = 1,
) -> None:
    """Compute the variance of each attention's output against n on Gaussian inputs, in theory and measured."""
    from reluformer.analysis.variance import write_variance_law
    from reluformer.files import require_writable

    require_writable(output)
    write_variance_law(output, seed)


@step("reluformer measure", "reluformer measure --config config/demo.yaml")
def measure(
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("results/paper/measured.json"),
    settings: Settings = None,
    config: Config = None,
    threads: Threads = None,
) -> None:
    """Measure speed and memory of a study's systems by length, with random weights."""
    from reluformer.benchmark.study import MeasuringPlan, measure_study, measuring_plan
    from reluformer.files import require_writable, write_json

    require_writable(output)
    if settings is not None:
        plan: MeasuringPlan | None = parse_settings(MeasuringPlan, settings)
    else:
        plan = measuring_plan(experiment_of(config))
    if plan is None:
        raise SettingsError("no study of this configuration is measured: none has `measured` in studies.yaml")
    write_json(output, measure_study(plan, threads or 1, print))


@step("reluformer study ablation", "reluformer study ablation --config config/demo.yaml")
def study(
    name: Annotated[str, typer.Argument(help="A study of config/studies.yaml.")],
    config: Config = None,
    results: Results = Path("results"),
) -> None:
    """Build one study's tables and figures from its runs."""
    from reluformer.paper.study import build_study

    build_study(experiment_of(config), name, results)


@step("reluformer significance ffn-activation --config config/demo.yaml")
def significance(
    name: Annotated[str, typer.Argument(help="A study of config/studies.yaml.")],
    config: Config = None,
    results: Results = Path("results"),
) -> None:
    """Test a study's runs pairwise on their test set: paired bootstrap and approximate randomisation."""
    from reluformer.paper.differences import write_significance

    write_significance(experiment_of(config), name, results)


@step("reluformer claims --config config/demo.yaml")
def claims(config: Config = None, results: Results = Path("results")) -> None:
    """Compare the paper's claims with what the runs show."""
    from reluformer.paper.claims import build_claims

    build_claims(experiment_of(config), results)


@step("reluformer index --config config/demo.yaml")
def index(
    config: Config = None,
    results: Results = Path("results"),
    logs: Annotated[Path, typer.Option(help="The folder with the logs of the steps.")] = Path("logs"),
) -> None:
    """Write the index page from existing results: claims, tables, figures, runs and provenance."""
    from reluformer.paper.index import build_index

    build_index(experiment_of(config), results, logs)


@step("reluformer overview --config config/demo.yaml")
def overview(config: Config = None, results: Results = Path("results")) -> None:
    """Print the main table, the verdicts, and where the report is."""
    from reluformer.paper.index import overview as overview_of

    print(overview_of(experiment_of(config), results))


@step("reluformer schemas workflow/schemas --reference config/README.md")
def schemas(
    folder: Annotated[Path, typer.Argument(help="The folder for the JSON schemas.")],
    reference: Annotated[Path | None, typer.Option(help="Also write a page of all keys to this file.")] = None,
) -> None:
    """Write the JSON schema of every configuration file, for editors."""
    from reluformer.config.schemas import reference_text, write_schemas
    from reluformer.files import write_text

    write_schemas(folder)
    if reference is not None:
        write_text(reference, reference_text())
