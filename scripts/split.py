"""`kesikaran data split`, from a checkout: `python scripts/split.py label.csv`."""

from kesikaran.cli.data.split import main

if __name__ == "__main__":
    main()
