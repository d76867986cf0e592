"""`python -m kesikaran.verify` is `kesikaran data verify`: see `kesikaran.cli.data.verify`."""

from kesikaran.cli.data.verify import main

if __name__ == "__main__":
    main()
