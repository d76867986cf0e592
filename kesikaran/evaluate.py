"""`python -m kesikaran.evaluate` and `kesikaran-evaluate`: see `kesikaran.cli.evaluate`."""

from kesikaran.cli.evaluate import main

if __name__ == "__main__":
    main()
