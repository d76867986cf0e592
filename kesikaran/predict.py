"""`python -m kesikaran.predict` and `kesikaran-predict`: see `kesikaran.cli.predict`."""

from kesikaran.cli.predict import main

if __name__ == "__main__":
    main()
