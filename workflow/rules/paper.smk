# From runs to the paper: one rule a study, the claims, and the report.

# What the tables and figures say beside the runs: a change of these builds them anew, and trains nothing.
SHOWN = json.dumps(
    {key: value for key, value in config.items() if key not in ("archives", "force")},
    sort_keys=True,
)
CLAIMS = Path("config/claims.yaml").read_text(encoding="utf-8")


for study in EXPERIMENT.studies:

    rule:
        name:
            f"study_{study.replace('-', '_')}"
        input:
            STUDY_INPUTS[study],
        output:
            [in_report(study, path) for path in study_outputs(EXPERIMENT, study)],
        log:
            f"logs/study/{study}.log",
        localrule: True
        params:
            study=study,
            question=lambda wildcards, study=study: EXPERIMENT.studies[study].question,
            definition=lambda wildcards, study=study: as_json(EXPERIMENT.studies[study]),
            claims=lambda wildcards: CLAIMS,
            settings=lambda wildcards: SHOWN,
        shell:
            "reluformer study {params.study} --config {params.settings:q} > {log:q} 2>&1"


rule corpus_page:
    input:
        "results/corpora/{corpus}/provenance.json",
        lambda wildcards: [f"{view(dataset)}/statistics.json" for dataset in datasets_of(wildcards.corpus)],
    output:
        report(
            "results/paper/corpora/{corpus}.html",
            caption="../report/corpus.rst",
            category="Corpora",
            labels={"study": "all", "form": "corpus", "file": "{corpus}"},
        ),
    log:
        "logs/corpus_page/{corpus}.log",
    params:
        views=lambda wildcards: [
            f"--view {dataset.partition('@')[2]}" for dataset in datasets_of(wildcards.corpus) if "@" in dataset
        ],
        note="Toy configuration." if EXPERIMENT.config.toy else "",
    shell:
        "reluformer corpus-page results/corpora/{wildcards.corpus:q} --output {output:q} {params.views}"
        " --note {params.note:q} > {log:q} 2>&1"


rule claims:
    input:
        CLAIMS_INPUTS,
    output:
        [claims_in_report(path) for path in claims_outputs()],
    log:
        "logs/claims.log",
    params:
        claims=lambda wildcards: CLAIMS,
        settings=lambda wildcards: SHOWN,
    shell:
        "reluformer claims --config {params.settings:q} > {log:q} 2>&1"


rule paper:
    input:
        [study_outputs(EXPERIMENT, study) for study in EXPERIMENT.studies],
        claims_outputs(),
        [f"results/paper/corpora/{corpus}.html" for corpus in EXPERIMENT.datasets],


rule report:
    input:
        rules.paper.input,
    output:
        "results/paper/report.html",
    log:
        "logs/report.log",
    params:
        settings=lambda wildcards: SHOWN,
    shell:
        "printf '%s' {params.settings:q} > results/paper/config.json && "
        "snakemake paper --cores 1 --nolock --configfile results/paper/config.json --report {output:q} > {log:q} 2>&1"
