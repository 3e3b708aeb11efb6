# From runs to the paper: a rule for each study, the claims, and the report.

# The settings of tables and figures: changing these rebuilds them and trains nothing.
SETTINGS = {key: value for key, value in config.items() if key not in OWN_KEYS}
CLAIMS = Path(CONFIG, "claims.yaml").read_text(encoding="utf-8")


for study in EXPERIMENT.studies:

    rule:
        name:
            f"study_{study.replace('-', '_')}"
        input:
            there(STUDY_INPUTS[study]),
        output:
            [in_report(study, path) for path in study_outputs(EXPERIMENT, study)],
        log:
            f"logs/study/{study}.log",
        localrule: True
        conda:
            ENVIRONMENT
        params:
            study=study,
            question=lambda wildcards, study=study: EXPERIMENT.studies[study].question,
            definition=lambda wildcards, study=study: EXPERIMENT.studies[study].model_dump_json(),
            claims=lambda wildcards: CLAIMS,
            settings=lambda wildcards: experiment_file(SETTINGS),
        shell:
            step("study --config {params.settings:q} -- {params.study:q} > {log:q} 2>&1")


rule significance:
    input:
        lambda wildcards: there(significance_inputs(EXPERIMENT, wildcards.study)),
    output:
        "results/paper/significance/{study}.json",
    log:
        "logs/significance/{study}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        pairs=lambda wildcards: [(ours.path, other.path) for ours, other in compared_runs(EXPERIMENT, wildcards.study)],
        settings=lambda wildcards: experiment_file(compared_settings(wildcards.study)),
    shell:
        step("significance --config {params.settings:q} -- {wildcards.study:q} > {log:q} 2>&1")


rule corpus_page:
    input:
        "results/corpora/{corpus}/provenance.json",
        lambda wildcards: [f"{view(dataset)}/statistics.json" for dataset in datasets_of(wildcards.corpus)],
    output:
        page("results/paper/corpora/{corpus}.html", "corpus", "Corpora", study="all", form="corpus", file="{corpus}"),
    log:
        "logs/corpus_page/{corpus}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        views=lambda wildcards: [
            f"--view={dataset.partition('@')[2]}" for dataset in datasets_of(wildcards.corpus) if "@" in dataset
        ],
        note="Toy configuration." if EXPERIMENT.config.toy else "",
    shell:
        step(
            "corpus-page results/corpora/{wildcards.corpus:q} --output {output:q} {params.views:q}"
            " --note {params.note:q} > {log:q} 2>&1"
        )


rule claims:
    input:
        there(CLAIMS_INPUTS),
    output:
        [path for path in claims_outputs() if not path.endswith(".html")],
        page("results/paper/claims.html", "claims", "Claims", study="all", form="claims", file="claims"),
    log:
        "logs/claims.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        claims=lambda wildcards: CLAIMS,
        settings=lambda wildcards: experiment_file(SETTINGS),
    shell:
        step("claims --config {params.settings:q} > {log:q} 2>&1")


rule paper:
    input:
        [study_outputs(EXPERIMENT, study) for study in EXPERIMENT.studies],
        claims_outputs(),
        [f"results/paper/corpora/{corpus}.html" for corpus in EXPERIMENT.datasets if datasets_of(corpus)],
    localrule: True


TRAINED = there(
    [f"results/runs/{run.path}/{file}" for run in EXPERIMENT.runs for file in ("summary.json", "log.jsonl")]
)
ARCHIVE = ["results/paper/archive.zip"] if TRAINED else []  # without runs there is no archive


rule index:
    input:
        rules.paper.input,
        TRAINED,
    output:
        page("results/paper/index.html", "index", "Start here", study="all", form="page", file="index"),
    log:
        "logs/index.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: experiment_file(SETTINGS),
    shell:
        step("index --config {params.settings:q} > {log:q} 2>&1")


rule archive:
    input:
        rules.index.output,
    output:
        "results/paper/archive.zip",
        "results/paper/archive.zip.sha256",
    log:
        "logs/archive.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: experiment_file(SETTINGS),
    shell:
        step("archive --config {params.settings:q} > {log:q} 2>&1")


LABELS = workflow.source_path("../report/labels.html")


rule report:
    # Snakemake's own report, by `snakemake --report`: the only way to make one while the workflow is still running.
    input:
        rules.index.output,
    output:
        "results/paper/report.html",
    log:
        "logs/report.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: experiment_file(SETTINGS),
        # For `make report`, with the same `partial`. It takes `output` so that it does not trigger reruns.
        kept=lambda wildcards, output: settings_file({**SETTINGS, "partial": PARTIAL}),
        snakefile=lambda wildcards, output: SNAKEFILE,
        labels=lambda wildcards, output: LABELS,
    shell:
        'cp {params.kept:q} results/paper/config.json && "$RELUFORMER_PYTHON" -P -m snakemake index --cores 1 --nolock'
        " --snakefile {params.snakefile:q} --configfile results/paper/config.json --report {output:q} > {log:q} 2>&1"
        " && cat {params.labels:q} >> {output:q}"
