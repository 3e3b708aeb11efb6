# The experiment behind every rule: its runs and their settings.

import json
import os
import re
import shlex
import signal
import socket
import sys

from reluformer.corpus.archives import Checksums, archive_places, edited_state, fetched_state, places_of, sole_places
from reluformer.config.experiment import Experiment
from reluformer.files import write_by_content
from reluformer.benchmark.study import measuring_plan
from reluformer.cli.costs import refusal
from reluformer.ops.process import STARTER
from reluformer.paper.outputs import (
    claims_inputs,
    claims_outputs,
    compared_runs,
    refuse_shared_outputs,
    significance_inputs,
    study_inputs,
    study_outputs,
)
from reluformer.paper.record import CORPUS_FILES, OWN_KEYS, STEPS, read_recorded
from reluformer.config.run import Run
from reluformer.config.settings import SettingsError, merge, parse_scalar, read_yaml
from reluformer.cli.watching import explain_failures

CONFIG = os.path.relpath(CONFIG)
CONFIG_NAME = os.path.relpath([*workflow.configfiles, "config"][0])  # a module may have none

ENVIRONMENT = "../envs/reluformer.yaml"  # of every rule, with --sdm conda
SNAKEFILE = SNAKEFILE if "://" in SNAKEFILE else os.path.relpath(SNAKEFILE)

# Steps run with the Python that runs Snakemake, so nothing needs to be activated; -P keeps a random.py in the working folder
# from shadowing the standard library's. With --sdm, the environment has its own Python, without this package.
os.environ.update(RELUFORMER_PYTHON=sys.executable)
if workflow.deployment_settings.deployment_method:
    source = os.path.abspath(os.path.join(os.path.dirname(SNAKEFILE), "../src"))
    os.environ.update(RELUFORMER_PYTHON="python", PYTHONPATH=source)


def as_yaml(value):
    """Parses a value of --config: Snakemake leaves numbers in lists as text. A pattern such as `*` is text, not YAML."""
    if isinstance(value, dict):
        return {key: as_yaml(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_yaml(inner) for inner in value]
    try:
        return parse_scalar(value) if isinstance(value, str) else value
    except SettingsError:
        return value


def read_config():
    """Reads `config` again: Snakemake takes `no` for false and `1e-3` for text, and the second of two equal keys wins."""
    given = config if workflow.modifier.skip_configfile else workflow.config_settings.config  # a module's, --config's
    files = [] if workflow.modifier.skip_configfile else workflow.overwrite_configfiles
    data = {}
    for file in [os.path.join(CONFIG, "config.yaml"), *files]:
        data = merge(data, read_yaml(os.path.relpath(file)))
    return merge(data, as_yaml(given))


try:
    config = read_config()
    EXPERIMENT = Experiment(config, folder=CONFIG, name=CONFIG_NAME)
    refuse_shared_outputs(EXPERIMENT)
    RECORD = EXPERIMENT.config.record
    RECORDED = read_recorded(EXPERIMENT, Path(RECORD) if RECORD else None, Path("results"))
    STUDY_INPUTS = {study: RECORDED.without_maps(study_inputs(EXPERIMENT, study)) for study in EXPERIMENT.studies}
    CLAIMS_INPUTS = claims_inputs(EXPERIMENT)
except SettingsError as error:
    sys.exit(f"Configuration error: {error}")

# With `partial`, the rules that produce runs are left out, and the paper is built from the files that exist.
PARTIAL = EXPERIMENT.config.partial

if EXPERIMENT.config.archives:
    os.environ.update(RELUFORMER_ARCHIVES=os.path.abspath(os.path.expanduser(EXPERIMENT.config.archives)))

if workflow.modifier.is_main_snakefile():
    os.environ.update(PYTHONSAFEPATH="1")  # like -P, for jobs that a cluster starts with `python -m snakemake`

# A step exits when the Snakemake that started it is gone; a training saves first.
os.environ[STARTER] = f"{os.getpid()}@{socket.gethostname()}"

# SLURM's signal before the time limit is meant for the training, but Snakemake receives it too and would die of it.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

if workflow.is_main_process:
    print(EXPERIMENT.summary() + RECORDED.summary(), file=sys.stderr)


onstart:
    # Skipped by dry runs and jobs; a cluster has its GPUs elsewhere.
    if workflow.is_main_process and workflow.local_exec and not workflow.touch:
        trainings = [resolve(job.wildcards) for job in workflow.dag.needrun_jobs() if job.rule.name == "train"]
        if reason := refusal(EXPERIMENT, trainings, Path("results/corpora")):
            sys.exit(f"\n{reason}")


onerror:
    failed = workflow.scheduler.failed if workflow.scheduler else ()
    named = [(name_of(job), Path(job.log[0]) if job.log else None) for job in failed]
    if named:
        print(explain_failures(sorted(named), Path(".")), file=sys.stderr)


wildcard_constraints:
    corpus=r"[^/@]+",
    dataset=r"[^/]+",
    system=r"[^/]+",
    seed=r"0|[1-9][0-9]*",
    packing="within|across",
    length=r"\d+",


def there(paths):
    """Returns inputs of the paper's rules: with `partial`, only those that exist or are recorded."""
    built = "results/paper/significance/"
    return [
        path for path in paths if not PARTIAL or path.startswith(built) or os.path.exists(path) or recorded_as(path)
    ]


def any_of(names):
    """Returns a wildcard constraint for any of the names; without names it matches nothing."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"


def name_of(job):
    """Returns how a job is named in messages: `train iwslt14/reluformer/seed1`."""
    values = dict(job.wildcards_dict)
    if values.keys() == {"dataset", "system", "seed"}:
        return f"{job.rule.name} {values['dataset']}/{values['system']}/seed{values['seed']}"
    return f"{job.rule.name} {', '.join(values.values())}".strip()


def recorded_as(path):
    """Returns whether a file below results/ is copied from the record."""
    return path.removeprefix("results/") in RECORDED.files


def step(arguments):
    """Returns the shell command of a step."""
    return f'"$RELUFORMER_PYTHON" -P -m reluformer.cli {arguments}'


def settings_file(settings):
    """Returns the file with a step's settings, named by its hash: as a parameter it triggers a rerun when they change.

    Snakemake also evaluates parameters for -n, --dag and --summary: then nothing is written.
    """
    if not isinstance(settings, dict):
        settings = settings.model_dump(mode="json")
    writes = workflow.executor_plugin is not None and not workflow.dryrun and not workflow.touch
    return str(write_by_content(Path(".snakemake/settings"), settings, writes))


def experiment_file(settings):
    """Returns the `settings_file` of a whole configuration and its folder."""
    return settings_file({"config": settings, "folder": CONFIG, "name": CONFIG_NAME})


def resolve(wildcards):
    return EXPERIMENT.resolve(Run(wildcards.dataset, wildcards.system, int(wildcards.seed)))


def start_of(wildcards):
    """Returns the files of the run that a training starts from; [] for random weights."""
    start = resolve(wildcards).training.start_from
    files = ("model.safetensors", "config.yaml", "summary.json")
    return [f"results/runs/{start}/{file}" for file in files] if start else []


def choice_of(wildcards):
    """Returns the file with a run's tuned values; [] for an untuned run."""
    run = Run(wildcards.dataset, wildcards.system, int(wildcards.seed))
    return EXPERIMENT.tuning.choice_file(run, Path("results")) or []


def view(dataset):
    """Returns the folder with a dataset's token store: the corpus's, or that of a segmentation."""
    return f"results/corpora/{dataset.replace('@', '/')}"


def datasets_of(corpus):
    """Returns the datasets of a corpus that runs use: the corpus itself and its segmentations."""
    names = sorted({run.dataset for run in EXPERIMENT.runs if run.dataset.partition("@")[0] == corpus})
    return [name for name in names if there([f"{view(name)}/statistics.json"])]


def training_threads(wildcards):
    """Returns the CPU threads of a training on each node."""
    training = resolve(wildcards).training
    return training.processes * (training.threads or 1)


def training_gpus(wildcards):
    """Returns the GPUs of a training on all its nodes."""
    training = resolve(wildcards).training
    return training.processes * training.nodes


def training_nodes(wildcards):
    return resolve(wildcards).training.nodes


def of_several_nodes(value):
    """Returns a resource only for trainings on several nodes; value: a function of the number of nodes."""

    def resource(wildcards):
        nodes = training_nodes(wildcards)
        return value(nodes) if nodes > 1 else None

    return resource


def compared_settings(study):
    """Returns the part of the configuration that determines a study's paired tests."""
    chosen = {"title": study, "only": [study], "studies": {study: EXPERIMENT.config.studies.get(study, {})}}
    shared = {key: getattr(EXPERIMENT.config, key) for key in ("datasets", "seeds")}
    claims = {name: claim.model_dump() for name, claim in EXPERIMENT.config.claims.items() if claim.study == study}
    if claims:
        chosen["claims"] = claims
    return {**chosen, **shared, "significance": EXPERIMENT.config.significance.model_dump()}


def page(path, caption, category, **labels):
    """Returns a page of the report; `caption`: a file in workflow/report."""
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)


def in_report(study, path):
    """Adds an output of a study to the report if it is an HTML table or an SVG figure."""
    if not path.endswith((".html", ".svg")):
        return path
    form = Path(path).parent.name.removesuffix("s")
    return page(path, form, EXPERIMENT.studies[study].title, study=study, form=form, file=Path(path).stem)


def log_in_report():
    """Returns a training's log, in the report unless there are over 100 runs (results/paper/archive.zip has all logs)."""
    path = "results/runs/{dataset}/{system}/seed{seed}/log.jsonl"
    if len(EXPERIMENT.runs) > 100:
        return path
    return page(path, "log", "Training logs", dataset="{dataset}", system="{system}", seed="{seed}")


PLACES = archive_places(EXPERIMENT.datasets)
NAMED = sole_places(PLACES)
CHECKSUMS = Checksums(Path(".snakemake/checksums.json"))
SEARCHED = Path(os.getenv("RELUFORMER_ARCHIVES")) if os.getenv("RELUFORMER_ARCHIVES") else None


def resources_of(corpus):
    """Returns the fetched archives of a corpus, in their order."""
    return [f"resources/{place}" for place in places_of(corpus, PLACES, EXPERIMENT.datasets[corpus].corpus.archives)]


def edited(corpus):
    """Returns a value that changes when a corpus's files in resources/ are edited in place."""
    archives = EXPERIMENT.datasets[corpus].corpus.archives
    return edited_state(list(zip(archives, map(Path, resources_of(corpus)))), CHECKSUMS)


def tokenizer_option(dataset):
    """Returns the scoring step's option for a dataset that names a tokeniser, else ""."""
    return f"--tokenizer={dataset.tokenizer}" if dataset.tokenizer else ""


def search_of(wildcards):
    """Returns the tuning search of a system; exits with one line if it has none."""
    try:
        search = EXPERIMENT.tuning.search(wildcards.dataset, wildcards.system)
    except SettingsError as error:
        sys.exit(f"Configuration error: {error}")
    return search or sys.exit(
        f"Configuration error: {wildcards.dataset}/{wildcards.system} is not tuned: its choice is pinned, or `tuning` "
        "does not name it"
    )


def round_file(wildcards, number):
    """Returns the result of a tuning round, once it is finished."""
    names = {key: wildcards[key] for key in ("dataset", "system")}
    return checkpoints.tuning_round.get(**names, round=number).output[0]


def next_runs(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))["next"]


def scored_runs(wildcards):
    """Returns the summaries of the runs of all rounds up to this one."""
    runs = [run.path for run in search_of(wildcards).first_runs()]
    for number in range(int(wildcards.round)):
        runs += next_runs(round_file(wildcards, number))
    return [f"results/runs/{run}/summary.json" for run in runs]


def last_round(wildcards):
    """Returns the result of the last tuning round."""
    search_of(wildcards)
    number = 0
    while next_runs(path := round_file(wildcards, number)):
        number += 1
    return path
