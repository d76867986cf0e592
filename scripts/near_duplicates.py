"""`kesikaran data near-duplicates`, from a checkout: `python scripts/near_duplicates.py DATA`."""

from kesikaran.cli.data.near_duplicates import main

if __name__ == "__main__":
    main()
