"""Runs Snakemake with a job check every second; the SLURM plugin adds ten seconds after each check without news."""

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda executor: 1, lambda executor, seconds: None)
main()
