"""`reluformer <step>`: each step of the DAG, usable without Snakemake, and tools for people."""
