"""What an experiment is: one module for each YAML concept."""
