# Speed and memory of a study's systems by length: one job with a GPU to itself. On a CPU it uses one thread, as a training does,
# and counts processor time, so other jobs hardly matter.

MEASURING = measuring_plan(EXPERIMENT)


rule measure:
    output:
        "results/paper/measured.json",
    log:
        "logs/measure.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=1,
        nodes=1,
    params:
        settings=lambda wildcards: settings_file(MEASURING) if MEASURING else "",
    shell:
        step("measure --settings {params.settings:q} --output {output:q} --threads 1 > {log:q} 2>&1")
