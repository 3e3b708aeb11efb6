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
    shell:
        "reluformer score results/runs/{wildcards.dataset}/{wildcards.system}/seed{wildcards.seed} > {log:q} 2>&1"
