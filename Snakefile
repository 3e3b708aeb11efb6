# The reproduction of "A Study on ReLU and Softmax in Transformer", from the archives to the report.
#   snakemake --cores all                                              the paper (config/config.yaml)
#   snakemake --cores 2 --configfile config/demo.yaml                  the same DAG at toy size (`make demo`)
#   snakemake --cores 2 results/paper/tables/ffn-activation.csv        one table and its runs
#   snakemake --cores 2 --config partial=true                          tables and report from the runs that exist
#   snakemake -n                                                       the plan


# The working folder's own (with `-d`, or as a module), else the one beside this file.
CONFIG = "config" if os.path.isfile("config/systems.yaml") else os.path.join(workflow.current_basedir, "config")


configfile: os.path.join(CONFIG, "config.yaml")


include: "workflow/rules/common.smk"


if not PARTIAL:

    include: "workflow/rules/corpus.smk"
    include: "workflow/rules/tune.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/translate.smk"
    include: "workflow/rules/evaluate.smk"
    include: "workflow/rules/analyse.smk"
    include: "workflow/rules/measure.smk"


if RECORD:

    include: "workflow/rules/record.smk"


include: "workflow/rules/paper.smk"


report: "workflow/report/workflow.rst"


container: "reluformer.sif"  # with --sdm apptainer; built from workflow/envs/reluformer.def


rule all:
    default_target: True
    input:
        "results/paper/report.html",
        ARCHIVE,
    localrule: True
