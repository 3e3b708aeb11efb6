"""The configuration of an experiment: one module for each YAML concept."""
