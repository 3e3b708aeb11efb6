# The test split, translated by a trained run.


rule translate:
    input:
        RUN + "/model.safetensors",
        RUN + "/config.yaml",
        RUN + "/summary.json",
    output:
        RUN + "/hypotheses.jsonl",
        RUN + "/translation.json",
    log:
        "logs/translate/{dataset}/{system}/seed{seed}.log",
    shell:
        "reluformer translate-run results/runs/{wildcards.dataset}/{wildcards.system}/seed{wildcards.seed}"
        " > {log:q} 2>&1"
