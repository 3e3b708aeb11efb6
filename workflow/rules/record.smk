# Copies what a record has (`record` in the configuration, see `reluformer record`) instead of recomputing it.
# The wildcards match nothing else, and these rules take precedence over those that compute the files.


rule restore_training:
    input:
        expand("{record}/runs/{{run}}/{file}", record=RECORD, file=STEPS["train"]),
    output:
        expand("results/runs/{{run}}/{file}", file=STEPS["train"]),
    log:
        "logs/restore/training/{run}.log",
    wildcard_constraints:
        run=any_of(run for run, steps in RECORDED.runs.items() if "train" in steps),
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "cp {input:q} results/runs/{wildcards.run:q} > {log:q} 2>&1"


use rule restore_training as restore_scores with:
    input:
        expand("{record}/runs/{{run}}/{file}", record=RECORD, file=STEPS["score"]),
    output:
        expand("results/runs/{{run}}/{file}", file=STEPS["score"]),
    log:
        "logs/restore/scores/{run}.log",
    wildcard_constraints:
        run=any_of(run for run, steps in RECORDED.runs.items() if "score" in steps),


use rule restore_training as restore_analysis with:
    input:
        expand("{record}/runs/{{run}}/{file}", record=RECORD, file=STEPS["analyse"]),
    output:
        expand("results/runs/{{run}}/{file}", file=STEPS["analyse"]),
    log:
        "logs/restore/analysis/{run}.log",
    wildcard_constraints:
        run=any_of(run for run, steps in RECORDED.runs.items() if "analyse" in steps),


rule restore_corpus:
    input:
        expand("{record}/corpora/{{corpus}}/{file}", record=RECORD, file=CORPUS_FILES),
    output:
        expand("results/corpora/{{corpus}}/{file}", file=CORPUS_FILES),
    log:
        "logs/restore/corpora/{corpus}.log",
    wildcard_constraints:
        corpus=any_of(name for name in EXPERIMENT.datasets if f"corpora/{name}/{CORPUS_FILES[0]}" in RECORDED.files),
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "cp {input:q} results/corpora/{wildcards.corpus:q} > {log:q} 2>&1"


SINGLE = r"runs/.*/attention\.npz|corpora/[^/]+/[^/]+/.*|tuning/.*|paper/.*"


# Attention maps, statistics of packed views, tuned values, and measurements that belong to no run.
rule restore_file:
    input:
        f"{RECORD}/{{recorded}}",
    output:
        "results/{recorded}",
    log:
        "logs/restore/{recorded}.log",
    wildcard_constraints:
        recorded=any_of(file for file in RECORDED.files if re.fullmatch(SINGLE, file)),
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "cp {input:q} {output:q} > {log:q} 2>&1"


if not PARTIAL:

    ruleorder: restore_training > train
    ruleorder: restore_scores > translate
    ruleorder: restore_scores > score
    ruleorder: restore_analysis > analyse
    ruleorder: restore_file > analyse
    ruleorder: restore_corpus > prepare
    ruleorder: restore_file > pack
    ruleorder: restore_file > tune
    ruleorder: restore_file > measure
    ruleorder: restore_file > variance_law
