"""The command `reluformer`: each step of the DAG without Snakemake, and tools for people."""
