# One run: dataset × system × seed. Its checkpoints are not outputs, so a killed training resumes.
# On several nodes, SLURM's srun starts it once on each; without SLURM, the step says what it needs. `exec` passes on the signals
# that make it save.


rule train:
    input:
        lambda wildcards: [f"{view(wildcards.dataset)}/{part}" for part in ("statistics.json", "store")],
        start_of,
        choice=choice_of,
    output:
        "results/runs/{dataset}/{system}/seed{seed}/model.safetensors",
        "results/runs/{dataset}/{system}/seed{seed}/config.yaml",
        log_in_report(),
        "results/runs/{dataset}/{system}/seed{seed}/summary.json",
    log:
        "logs/train/{dataset}/{system}/seed{seed}.log",
    conda:
        ENVIRONMENT
    threads: training_threads
    resources:
        gpu=training_gpus,
        nodes=training_nodes,
        tasks=of_several_nodes(lambda nodes: nodes),
        tasks_per_gpu=of_several_nodes(lambda nodes: 0),  # the plugin would ask for `tasks` on each GPU
        mpi=of_several_nodes(lambda nodes: f"srun --nodes={nodes} --ntasks-per-node=1"),
    params:
        settings=lambda wildcards: settings_file(resolve(wildcards)),
        choice=lambda wildcards, input: f"--choice {shlex.quote(input.choice)}" if input.get("choice") else "",
        start=lambda wildcards, resources: resources.get("mpi", ""),
    shell:
        "export SRUN_CPUS_PER_TASK={threads}; exec ${{SLURM_JOB_ID:+{params.start}}} %s"
        % step("train --settings {params.settings:q} {params.choice} --threads {threads} > {log:q} 2>&1")
