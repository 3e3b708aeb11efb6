# From the published archives to token ids.

ARCHIVES = {archive.name: archive for dataset in EXPERIMENT.datasets.values() for archive in dataset.corpus.archives}


rule fetch:
    output:
        "resources/{archive}",
    log:
        "logs/fetch/{archive}.log",
    wildcard_constraints:
        archive="|".join(re.escape(name) for name in ARCHIVES),
    params:
        settings=lambda wildcards: settings_file(ARCHIVES[wildcards.archive]),
    shell:
        step("fetch --settings {params.settings:q} --output {output:q} > {log:q} 2>&1")


rule prepare:
    input:
        lambda wildcards: [
            f"resources/{archive.name}" for archive in EXPERIMENT.datasets[wildcards.corpus].corpus.archives
        ],
    output:
        "results/corpora/{corpus}/statistics.json",
        "results/corpora/{corpus}/provenance.json",
        "results/corpora/{corpus}/subword.model",
        store=directory("results/corpora/{corpus}/store"),
    log:
        "logs/prepare/{corpus}.log",
    threads: 16  # or as many as there are
    params:
        settings=lambda wildcards: settings_file(EXPERIMENT.datasets[wildcards.corpus].preparation()),
    shell:
        step(
            "prepare {input:q} --settings {params.settings:q} --output results/corpora/{wildcards.corpus:q}"
            " --workers {threads} 2>&1 | tee {log:q}"
        )


rule pack:
    input:
        "results/corpora/{corpus}/statistics.json",
    output:
        "results/corpora/{corpus}/{packing}-{length}/statistics.json",
        store=directory("results/corpora/{corpus}/{packing}-{length}/store"),
    log:
        "logs/pack/{corpus}/{packing}-{length}.log",
    params:
        settings=lambda wildcards: settings_file(EXPERIMENT.datasets[wildcards.corpus].preparation()),
    shell:
        step(
            "pack --settings {params.settings:q} --corpus results/corpora/{wildcards.corpus:q}"
            " --packing {wildcards.packing} --length {wildcards.length} 2>&1 | tee {log:q}"
        )
