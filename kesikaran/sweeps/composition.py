"""Composing the jobs of a sweep: once for each choice of groups, and then only what differs is put in.

Hydra composes each job from its files anew, in some 40 ms. What a sweep varies is mostly single values.
"""

import copy
from collections.abc import Sequence
from functools import cache

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException


class Composer:
    """Composes the configurations of jobs as Hydra does, without Hydra's own node."""

    def __init__(self, loader: ConfigLoader, master: DictConfig):
        """master: the configuration of the sweep, with Hydra's node."""
        self._loader, self._master = loader, master
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._parsed = cache(self._parse)
        self._checked: set[tuple[str, ...]] = set()

    def compose(self, words: Sequence[str]) -> DictConfig:
        """The configuration of a job.

        Args:
            words: all its overrides.

        Raises:
            HydraException, OmegaConfBaseException: as Hydra's.
        """
        values = [word for word in words if self._is_value(word)]
        cfg = copy.deepcopy(self._base(tuple(word for word in words if word not in values)))
        try:
            self._put_in(cfg, values)
        except OmegaConfBaseException:
            return self._by_hydra(tuple(words))  # which says it in Hydra's words
        return cfg

    def check(self, words: Sequence[str]) -> None:
        """Check that a job can be composed, each value once for all jobs.

        Raises:
            HydraException, OmegaConfBaseException: as Hydra's.
        """
        values = [word for word in words if self._is_value(word)]
        groups = tuple(word for word in words if word not in values)
        for value in values or [""]:
            if (*groups, value) not in self._checked:
                self.compose([*groups, value] if value else groups)
                self._checked.add((*groups, value))

    def _base(self, words: tuple[str, ...]) -> DictConfig:
        if words not in self._composed:
            self._composed[words] = self._by_hydra(words)
        return self._composed[words]

    def _by_hydra(self, words: tuple[str, ...]) -> DictConfig:
        cfg = self._loader.load_sweep_config(self._master, list(words))
        OmegaConf.set_readonly(cfg, False)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    def _put_in(self, cfg: DictConfig, values: list[str]) -> None:
        for word in values:
            found = self._parsed(word)
            OmegaConf.update(cfg, found.key_or_group, found.value(), merge=True)

    def _parse(self, word: str) -> Override:
        (found,) = OverridesParser.create().parse_overrides([word])
        return found

    def _is_value(self, word: str) -> bool:
        """Whether an override sets one value: it chooses no option of a group, adds nothing and deletes nothing."""
        found = self._parsed(word)
        if found.is_add() or found.is_force_add() or found.is_delete() or found.package is not None:
            return False
        key = found.key_or_group
        return not key.startswith("hydra") and ("." in key or not self._loader.get_group_options(key))
