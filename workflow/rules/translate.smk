# The test split, translated by a trained run.


rule translate:
    input:
        "results/runs/{dataset}/{system}/seed{seed}/model.safetensors",
        "results/runs/{dataset}/{system}/seed{seed}/config.yaml",
        "results/runs/{dataset}/{system}/seed{seed}/summary.json",
    output:
        "results/runs/{dataset}/{system}/seed{seed}/hypotheses.jsonl",
        "results/runs/{dataset}/{system}/seed{seed}/translation.json",
    log:
        "logs/translate/{dataset}/{system}/seed{seed}.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=1,
        nodes=1,
    shell:
        step(
            "translate-run results/runs/{wildcards.dataset:q}/{wildcards.system:q}/seed{wildcards.seed}"
            " > {log:q} 2>&1"
        )
