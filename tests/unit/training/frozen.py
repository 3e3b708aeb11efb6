"""Imported last by the server that trainings are forked from: no fork's garbage collection copies what it imported."""

import gc

gc.collect()
gc.freeze()
