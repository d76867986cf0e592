"""`python -m kesikaran.split` is `kesikaran data split`: see `kesikaran.cli.data.split`."""

from kesikaran.cli.data.split import main

if __name__ == "__main__":
    main()
