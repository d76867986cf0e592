"""`kesikaran data relabel`, from a checkout: `python scripts/relabel.py DATA corrections.csv`."""

from kesikaran.cli.data.relabel import main

if __name__ == "__main__":
    main()
