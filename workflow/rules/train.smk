# One run: dataset × system × seed. Its checkpoints are not outputs, so that a killed training goes on where it was.


rule train:
    input:
        lambda wildcards: f"{view(wildcards.dataset)}/statistics.json",
    output:
        "results/runs/{dataset}/{system}/seed{seed}/model.safetensors",
        "results/runs/{dataset}/{system}/seed{seed}/config.yaml",
        "results/runs/{dataset}/{system}/seed{seed}/log.jsonl",
        "results/runs/{dataset}/{system}/seed{seed}/summary.json",
    log:
        "logs/train/{dataset}/{system}/seed{seed}.log",
    threads: training_threads
    params:
        settings=lambda wildcards: as_json(resolve(wildcards)),
    shell:
        "reluformer train --settings {params.settings:q} --threads {threads} > {log:q} 2>&1"
