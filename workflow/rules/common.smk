# The experiment behind every rule: which runs there are, and the settings of each.

import json
import os
import sys

from reluformer.experiment import Experiment
from reluformer.paper.outputs import claims_inputs, claims_outputs, study_inputs, study_outputs
from reluformer.run import Run
from reluformer.settings import SettingsError

try:
    EXPERIMENT = Experiment(config, folder="config", name=os.path.relpath(workflow.configfiles[0]))
    STUDY_INPUTS = {study: study_inputs(EXPERIMENT, study) for study in EXPERIMENT.studies}
    CLAIMS_INPUTS = claims_inputs(EXPERIMENT)
except SettingsError as error:
    sys.exit(f"Configuration error: {error}")

if config.get("archives"):
    os.environ.update(RELUFORMER_ARCHIVES=os.path.abspath(config["archives"]))

if workflow.is_main_process:
    print(EXPERIMENT.summary(), file=sys.stderr)


wildcard_constraints:
    corpus=r"[^/@]+",
    dataset=r"[^/]+",
    system=r"[^/]+",
    seed=r"\d+",
    packing="within|across",
    length=r"\d+",
    split="train|valid|test",


def as_json(model):
    """A configuration as one line: what a rule hands to its step, and what triggers a rerun when it changes."""
    return json.dumps(model.model_dump(mode="json"), sort_keys=True)


def resolve(wildcards):
    return EXPERIMENT.resolve(Run(wildcards.dataset, wildcards.system, int(wildcards.seed)))


def view(dataset):
    """The folder with a dataset's token store: the corpus's own, or that of one segmentation."""
    return f"results/corpora/{dataset.replace('@', '/')}"


def datasets_of(corpus):
    """The names under which runs use a corpus: its own, or one for each segmentation."""
    return sorted({run.dataset for run in EXPERIMENT.runs if run.dataset.partition("@")[0] == corpus})


def training_threads(wildcards):
    training = resolve(wildcards).training
    return training.processes * (training.threads or 1)


def in_report(study, path):
    """An output of a study; tables as pages and figures as SVG are shown in the report, the other formats are not."""
    if not path.endswith((".html", ".svg")):
        return path
    form = Path(path).parent.name.removesuffix("s")
    return report(
        path,
        caption=f"../report/{form}.rst",
        category=EXPERIMENT.studies[study].title,
        labels={"study": study, "form": form, "file": Path(path).stem},
    )


def claims_in_report(path):
    if not path.endswith(".html"):
        return path
    return report(
        path,
        caption="../report/claims.rst",
        category="Claims",
        labels={"study": "all", "form": "claims", "file": "claims"},
    )
