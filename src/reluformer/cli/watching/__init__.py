"""A running workflow, seen through the files that it writes. Nothing is asked of it and nothing locked."""
