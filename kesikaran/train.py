"""`python -m kesikaran.train` and `kesikaran-train`: see `kesikaran.cli.train`."""

from kesikaran.cli.train import main

if __name__ == "__main__":
    main()
