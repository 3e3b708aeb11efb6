# From the published archives to token ids.


rule fetch:
    output:
        "resources/{place}",
    log:
        "logs/fetch/{place}.log",
    wildcard_constraints:
        place=any_of(PLACES),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: settings_file(PLACES[wildcards.place].archive),
        dataset=lambda wildcards: PLACES[wildcards.place].dataset,
        # A different file under archives=DIR is fetched again, even if it is older.
        content=lambda wildcards: fetched_state(
            PLACES[wildcards.place], Path("resources", wildcards.place), SEARCHED, CHECKSUMS
        ),
    shell:
        step("fetch --settings {params.settings:q} --dataset {params.dataset:q} --output {output:q} > {log:q} 2>&1")


rule archive_by_name:
    # `resources/NAME` as a target, for an archive that only one dataset has.
    input:
        lambda wildcards: f"resources/{NAMED[wildcards.archive]}",
    output:
        "resources/{archive}",
    log:
        "logs/archive_by_name/{archive}.log",
    wildcard_constraints:
        archive=any_of(NAMED),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        place=lambda wildcards: NAMED[wildcards.archive],
    shell:
        "ln -sf -- {params.place:q} {output:q} > {log:q} 2>&1"


rule prepare:
    input:
        lambda wildcards: resources_of(wildcards.corpus),
    output:
        "results/corpora/{corpus}/statistics.json",
        "results/corpora/{corpus}/provenance.json",
        "results/corpora/{corpus}/subword.model",
        store=directory("results/corpora/{corpus}/store"),
    log:
        "logs/prepare/{corpus}.log",
    conda:
        ENVIRONMENT
    threads: 16  # at most
    params:
        settings=lambda wildcards: settings_file(EXPERIMENT.datasets[wildcards.corpus].preparation()),
        edited=lambda wildcards: edited(wildcards.corpus),  # in place, even with an older date
    shell:
        step(
            "prepare {input:q} --settings {params.settings:q} --output results/corpora/{wildcards.corpus:q}"
            " --workers {threads} 2>&1 | tee {log:q}"
        )


rule pack:
    input:
        "results/corpora/{corpus}/statistics.json",
        "results/corpora/{corpus}/store",
    output:
        "results/corpora/{corpus}/{packing}-{length}/statistics.json",
        store=directory("results/corpora/{corpus}/{packing}-{length}/store"),
    log:
        "logs/pack/{corpus}/{packing}-{length}.log",
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: settings_file(EXPERIMENT.datasets[wildcards.corpus].preparation()),
    shell:
        step(
            "pack --settings {params.settings:q} --corpus results/corpora/{wildcards.corpus:q}"
            " --packing {wildcards.packing} --length {wildcards.length} 2>&1 | tee {log:q}"
        )
