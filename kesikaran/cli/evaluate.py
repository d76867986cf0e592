"""`kesikaran evaluate`: a finished run decided and scored anew, see `kesikaran.evaluation`."""

import argparse
import sys

from kesikaran import evaluation, gate
from kesikaran.cli import door
from kesikaran.errors import InputError

_HELP = """
A finished run, decided and scored anew from the logits that it left: another threshold, another prior, intervals of
another confidence. Nothing is trained. Each RUN gives a new run in the same experiment, beside the old one.

  python -m kesikaran.evaluate RUN decision=prior_shift
  python -m kesikaran.evaluate RUN decision=prior_shift decision.prevalence=0.01
  python -m kesikaran.evaluate RUN decision=tuned decision.max_false_positive_rate=0.05
  python -m kesikaran.evaluate RUN decision=cost decision.cost_false_negative=20
  python -m kesikaran.evaluate RUN RUN evaluation.prevalences=[0.2,0.01]

What is not given stays as the run had it. python -m kesikaran.train --help shows every setting.
"""


def main() -> None:
    """The command line. Exit codes: 0 done, 1 an error, 3 a gate failed, 130 Ctrl-C, 143 SIGTERM."""
    parser = argparse.ArgumentParser(
        usage="python -m kesikaran.evaluate RUN [RUN ...] [SETTING=VALUE ...]",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="RUN", help="an id, the beginning of one, or a name without a =")
    parser.add_argument("more", nargs="*", metavar="SETTING=VALUE", help=f"of {', '.join(evaluation.GROUPS)}, or "
                        "tracking.run_name")  # fmt: skip
    given = parser.parse_args()
    words = [*given.words, *given.more]
    with door.opened():
        overrides = [word for word in words if "=" in word]
        asked = evaluation.settings(overrides)
        # All are read before the first is evaluated, so that a mistake in one leaves no run.
        sources = [evaluation.read(word, overrides, asked) for word in words if "=" not in word]
        if not sources:
            raise InputError("no run is given: python -m kesikaran.evaluate RUN decision=prior_shift")
        passed = [evaluation.evaluate(source, overrides) for source in sources]
    if not all(passed):
        sys.exit(gate.FAILED_EXIT)
