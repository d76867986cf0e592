"""`kesikaran data ingest`, from a checkout: `python scripts/ingest.py --out DATA FOLDER0=0 FOLDER1=1`."""

from kesikaran.cli.data.ingest import main

if __name__ == "__main__":
    main()
