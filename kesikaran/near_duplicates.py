"""`python -m kesikaran.near_duplicates` is `kesikaran data near-duplicates`: see `cli.data.near_duplicates`."""

from kesikaran.cli.data.near_duplicates import main

if __name__ == "__main__":
    main()
