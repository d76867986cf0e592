"""What a search may choose from, in Hydra's words: choice(), range(), interval(), and interval() tagged log or int."""

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def read(words: Sequence[str]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """(what is searched, by name; the overrides that all jobs have). Of two words for one setting the later counts.

    Raises:
        HydraException: nothing is searched, or in a way that Optuna has not.
    """
    searched: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for word in OverridesParser.create().parse_overrides(list(words)):
        key = word.get_key_element()
        searched.pop(key, None)
        fixed.pop(key, None)
        if word.is_sweep_override():
            searched[key] = _distribution(word)
        else:
            fixed[key] = key if word.is_delete() else f"{key}={word.get_value_element_as_str()}"
    if not searched:
        raise HydraException(
            "hydra/sweeper=optuna has nothing to search: give a setting several values or an interval, as in "
            "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"
        )
    return searched, list(fixed.values())


def _distribution(word: Override) -> BaseDistribution:
    value = word.value()
    try:
        if isinstance(value, IntervalSweep):
            assert value.start is not None
            assert value.end is not None
            return FloatDistribution(value.start, value.end, log="log" in value.tags)
        if isinstance(value, RangeSweep) and not value.shuffle and isinstance(steps := value.range(), range):
            return IntDistribution(min(steps), max(steps), step=abs(steps.step))
        if word.is_discrete_sweep() and not isinstance(value, Glob):
            # As Hydra writes them, so that null, lists and words in quotes come through.
            return CategoricalDistribution([str(one) for one in word.sweep_iterator(Transformer.encode)])
    except ValueError as error:
        raise HydraException(f"{word.input_line} cannot be searched: {error}") from None
    raise HydraException(f"{word.input_line} cannot be searched: list its values, a,b,c")
