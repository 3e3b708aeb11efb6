# Speed and memory of a study's systems by length: one job that has the machine, or one GPU, for itself. On a CPU it computes
# with one thread, as a training does: two that wait for each other measure whatever else the machine does.

MEASURING = measuring_plan(EXPERIMENT)


rule measure:
    output:
        "results/paper/measured.json",
    log:
        "logs/measure.log",
    threads: 16  # or as many as there are: nothing runs beside it
    resources:
        gpu=1,
        nodes=1,
    params:
        settings=as_json(MEASURING) if MEASURING else "",
    shell:
        "reluformer measure --settings {params.settings:q} --output {output:q} --threads 1 > {log:q} 2>&1"
