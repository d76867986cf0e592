"""`python -m kesikaran.ingest` is `kesikaran data ingest`: see `kesikaran.cli.data.ingest`."""

from kesikaran.cli.data.ingest import main

if __name__ == "__main__":
    main()
