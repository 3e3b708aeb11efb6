# The tuning of each system: rounds of ordinary runs, with a checkpoint after each, because its scores decide the next runs.


rule tuning:
    input:
        [f"results/{search.path}" for search in EXPERIMENT.tuning.searches],
    localrule: True


checkpoint tuning_round:
    input:
        scored_runs,
    output:
        "results/tuning/{dataset}/{system}/round{round}.json",
    log:
        "logs/tune/{dataset}/{system}/round{round}.log",
    wildcard_constraints:
        round=r"\d+",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: settings_file(search_of(wildcards)),
        rounds=lambda wildcards: int(wildcards.round) + 1,
    shell:
        step("tune --settings {params.settings:q} --rounds {params.rounds} --output {output:q} > {log:q} 2>&1")


rule tune:
    input:
        last_round,
    output:
        "results/tuning/{dataset}/{system}.json",
    log:
        "logs/tune/{dataset}/{system}.log",
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "cp {input:q} {output:q} > {log:q} 2>&1"
