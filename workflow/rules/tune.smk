# The tuning of each system: rounds of ordinary runs, a checkpoint after each, because which runs come next hangs on its scores.


def search_of(wildcards):
    """The search of a system; a mistake in its name is one line."""
    try:
        search = EXPERIMENT.tuning.search(wildcards.dataset, wildcards.system)
    except SettingsError as error:
        sys.exit(f"Configuration error: {error}")
    return search or sys.exit(
        f"Configuration error: {wildcards.dataset}/{wildcards.system} is not tuned: its choice is pinned, or `tuning` "
        "does not name it"
    )


def round_file(wildcards, number):
    """What a round has found, once it is over."""
    names = {key: wildcards[key] for key in ("dataset", "system")}
    return checkpoints.tuning_round.get(**names, round=number).output[0]


def next_runs(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))["next"]


def scored_runs(wildcards):
    """Summaries of the runs of all rounds up to this one."""
    runs = [run.path for run in search_of(wildcards).first_runs()]
    for number in range(int(wildcards.round)):
        runs += next_runs(round_file(wildcards, number))
    return [f"results/runs/{run}/summary.json" for run in runs]


def last_round(wildcards):
    """The file of the round after which there is nothing left to run."""
    search_of(wildcards)
    number = 0
    while next_runs(path := round_file(wildcards, number)):
        number += 1
    return path


rule tuning:
    input:
        [f"results/{search.path}" for search in EXPERIMENT.tuning.searches],


checkpoint tuning_round:
    input:
        scored_runs,
    output:
        "results/tuning/{dataset}/{system}/round{round}.json",
    log:
        "logs/tune/{dataset}/{system}/round{round}.log",
    wildcard_constraints:
        round=r"\d+",
    params:
        settings=lambda wildcards: settings_file(search_of(wildcards)),
        rounds=lambda wildcards: int(wildcards.round) + 1,
    shell:
        step("tune --settings {params.settings:q} --rounds {params.rounds} --output {output:q} > {log:q} 2>&1")


rule tune:
    input:
        last_round,
    output:
        "results/tuning/{dataset}/{system}.json",
    log:
        "logs/tune/{dataset}/{system}.log",
    shell:
        "cp {input:q} {output:q} > {log:q} 2>&1"
