"""`python -m kesikaran.features`: see `kesikaran.cli.features`."""

from kesikaran.cli.features import main

main()
