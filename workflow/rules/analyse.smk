# Measures of a trained run's memories, and the paper's law of variance on Gaussian inputs.


rule analyse:
    input:
        RUN + "/model.safetensors",
        RUN + "/config.yaml",
        RUN + "/summary.json",
    output:
        RUN + "/analysis.json",
        RUN + "/attention.npz",
    log:
        "logs/analyse/{dataset}/{system}/seed{seed}.log",
    shell:
        "reluformer analyse results/runs/{wildcards.dataset}/{wildcards.system}/seed{wildcards.seed} > {log:q} 2>&1"


rule variance_law:
    output:
        "results/paper/variance_law.json",
    log:
        "logs/variance_law.log",
    shell:
        "reluformer variance-law --output {output:q} > {log:q} 2>&1"
