"""`kesikaran data label-doubts`, from a checkout: `python scripts/label_doubts.py [RUN_ID]`."""

from kesikaran.cli.data.label_doubts import main

if __name__ == "__main__":
    main()
