"""`python -m kesikaran.compare` and `kesikaran-compare`: see `kesikaran.cli.compare`."""

from kesikaran.cli.compare import main

if __name__ == "__main__":
    main()
