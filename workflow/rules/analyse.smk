# Measures of a trained run's memories, and the paper's law of variance on Gaussian inputs.


rule analyse:
    input:
        "results/runs/{dataset}/{system}/seed{seed}/model.safetensors",
        "results/runs/{dataset}/{system}/seed{seed}/config.yaml",
        "results/runs/{dataset}/{system}/seed{seed}/summary.json",
    output:
        "results/runs/{dataset}/{system}/seed{seed}/analysis.json",
        "results/runs/{dataset}/{system}/seed{seed}/attention.npz",
    log:
        "logs/analyse/{dataset}/{system}/seed{seed}.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=1,
        nodes=1,
    shell:
        step("analyse results/runs/{wildcards.dataset:q}/{wildcards.system:q}/seed{wildcards.seed} > {log:q} 2>&1")


rule variance_law:
    output:
        "results/paper/variance_law.json",
    log:
        "logs/variance_law.log",
    conda:
        ENVIRONMENT
    shell:
        step("variance-law --output {output:q} > {log:q} 2>&1")
