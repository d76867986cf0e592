"""`kesikaran evaluate`: a finished run decided and scored anew, see `kesikaran.evaluation`."""

import argparse
import sys

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kesikaran.cli import door
from kesikaran.config import compose, reconfigure, schema
from kesikaran.core import paths
from kesikaran.core.errors import InputError, printable
from kesikaran.experiment import evaluation
from kesikaran.experiment.evaluation import Source
from kesikaran.metrics import gate

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
    """The command line. Exit codes: 0 done, 1 an error, 3 a gate failed, 128 + a signal's number."""
    parser = argparse.ArgumentParser(
        usage="python -m kesikaran.evaluate RUN [RUN ...] [SETTING=VALUE ...]",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="RUN", help="an id, the beginning of one, or a name without a =")
    parser.add_argument("more", nargs="*", metavar="SETTING=VALUE", help=f"of {', '.join(reconfigure.GROUPS)}, or "
                        "tracking.run_name")  # fmt: skip
    given = door.words(parser)
    words = [*given.words, *given.more]
    with door.opened():
        overrides = [word for word in words if "=" in word]
        asked = _composed(overrides)
        # All are read before the first is evaluated, so that a mistake in one leaves no run.
        read = [_read(word, overrides, asked) for word in words if "=" not in word]
        if not read:
            raise InputError("no run is given: python -m kesikaran.evaluate RUN decision=prior_shift")
        passed = [evaluation.evaluate(source, experiment, text, overrides) for source, experiment, text in read]
    if not all(passed):
        sys.exit(gate.FAILED_EXIT)


def _composed(overrides: list[str]) -> DictConfig:
    """The configuration that training with these overrides would compose.

    Raises:
        InputError: an override that needs training, or that Hydra does not take.
    """
    reconfigure.need_no_training(overrides)
    for word in overrides:
        try:
            several = OverridesParser.create().parse_override(word).is_sweep_override()
        except HydraException:
            raise InputError(f"cannot read {printable(word)}; write it in quotes where it has blanks") from None
        if several:
            raise InputError(f"{printable(word)} gives several values; call it once for each")
    ConfigStore.instance().store(name="schema", node=schema.Experiment)
    try:
        with hydra.initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
            return hydra.compose("config", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(compose.explain(error)) from None


def _read(word: str, overrides: list[str], asked: DictConfig) -> tuple[Source, schema.Experiment, str]:
    """(the finished run of an id or name, its changed configuration, that as YAML); see `evaluation.check`."""
    source = evaluation.read(word)
    cfg = reconfigure.changed(source.config_yaml, overrides, asked, source.record.run_id, source.record.params)
    experiment = compose.parse(cfg)
    evaluation.check(source, experiment)
    return source, experiment, compose.to_yaml(cfg)
