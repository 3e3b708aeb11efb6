"""Snakemake that looks at its jobs every second: the SLURM plugin waits ten seconds longer after each look in vain."""

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda executor: 1, lambda executor, seconds: None)
main()
