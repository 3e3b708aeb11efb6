# Scores of a run's translations.


rule score:
    input:
        "results/runs/{dataset}/{system}/seed{seed}/hypotheses.jsonl",
        "results/runs/{dataset}/{system}/seed{seed}/translation.json",
    output:
        "results/runs/{dataset}/{system}/seed{seed}/scores.json",
        "results/runs/{dataset}/{system}/seed{seed}/counts.npz",
    log:
        "logs/score/{dataset}/{system}/seed{seed}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        tokenizer=lambda wildcards: tokenizer_option(EXPERIMENT.dataset(wildcards.dataset)),
    shell:
        step(
            "score results/runs/{wildcards.dataset:q}/{wildcards.system:q}/seed{wildcards.seed} {params.tokenizer}"
            " > {log:q} 2>&1"
        )
