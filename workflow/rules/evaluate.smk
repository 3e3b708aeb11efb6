# Scores of a run's translations.


rule score:
    input:
        RUN + "/hypotheses.jsonl",
        RUN + "/translation.json",
    output:
        RUN + "/scores.json",
    log:
        "logs/score/{dataset}/{system}/seed{seed}.log",
    shell:
        "reluformer score results/runs/{wildcards.dataset}/{wildcards.system}/seed{wildcards.seed} > {log:q} 2>&1"
