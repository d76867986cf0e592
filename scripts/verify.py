"""`kesikaran data verify`, from a checkout: `python scripts/verify.py DATA`."""

from kesikaran.cli.data.verify import main

if __name__ == "__main__":
    main()
