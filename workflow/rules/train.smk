# One run: dataset × system × seed. Its checkpoints are not outputs, so that a killed training goes on where it was.


def training_threads(wildcards):
    training = resolve(wildcards).training
    return training.processes * (training.threads or 1)


rule train:
    input:
        lambda wildcards: f"{view(wildcards.dataset)}/statistics.json",
    output:
        RUN + "/model.safetensors",
        RUN + "/config.yaml",
        RUN + "/log.jsonl",
        RUN + "/summary.json",
    log:
        "logs/train/{dataset}/{system}/seed{seed}.log",
    threads: training_threads
    params:
        settings=lambda wildcards: as_json(resolve(wildcards)),
    shell:
        "reluformer train --settings {params.settings:q} --threads {threads} > {log:q} 2>&1"
