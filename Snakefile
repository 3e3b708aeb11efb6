# For `snakemake --cores all` in this folder. The workflow is workflow/Snakefile, where modules and the workflow catalogue look for it.


include: "workflow/Snakefile"


# Snakemake ignores the default target of an included file.
rule default:
    default_target: True
    input:
        rules.all.input,
    localrule: True
