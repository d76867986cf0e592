"""`python -m kesikaran.label_doubts` is `kesikaran data label-doubts`: see `kesikaran.cli.data.label_doubts`."""

from kesikaran.cli.data.label_doubts import main

if __name__ == "__main__":
    main()
