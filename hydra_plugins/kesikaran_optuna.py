"""The sweeper `hydra/sweeper=optuna`. Hydra finds plugins in this namespace only, and imports it at every start, so the
work is done in `kesikaran.sweeps.optuna_search`, imported late."""

from importlib.util import find_spec
from typing import Any

from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Draws the settings of each job by what earlier jobs have shown."""

    def __init__(self, **options: Any):
        """options: see conf/hydra/sweeper/optuna.yaml."""
        self._options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        if not find_spec("optuna"):
            raise HydraException('hydra/sweeper=optuna needs the package optuna: pip install "kesikaran[optuna]"')
        from kesikaran.sweeps import optuna_search

        self._search = optuna_search
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        assert self.launcher is not None
        params = self._options.pop("params") or {}
        words = [*(f"{key}={value}" for key, value in params.items()), *arguments]
        return self._search.search(self.config, words, self.launcher.launch, self._search.Options(**self._options))
