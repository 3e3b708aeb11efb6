"""`python -m reluformer.cli`."""

from reluformer.cli.main import main

if __name__ == "__main__":
    main()
