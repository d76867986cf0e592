"""`python -m kesikaran`: the same as the command `kesikaran`."""

from kesikaran.cli.__main__ import main

if __name__ == "__main__":
    main()
