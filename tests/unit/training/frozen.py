"""Imported last by the server that trainings fork from, so that garbage collection in the forks copies no pages."""

import gc

gc.collect()
gc.freeze()
