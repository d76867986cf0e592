"""`python -m kesikaran.relabel` is `kesikaran data relabel`: see `kesikaran.cli.data.relabel`."""

from kesikaran.cli.data.relabel import main

if __name__ == "__main__":
    main()
