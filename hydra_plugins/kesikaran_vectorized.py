"""The launcher `hydra/launcher=vectorized`. Hydra finds plugins in this namespace only, and imports it at every start,
so the work is done in `kesikaran.sweeps.vectorized`, imported late."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class VectorizedLauncher(Launcher):
    """Runs the jobs of a sweep in one process and trains those together whose heads are alike."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from kesikaran.cli import train
        from kesikaran.experiment.job import Job, Shared
        from kesikaran.sweeps import vectorized
        from kesikaran.sweeps.composition import Composer

        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        composer, shared = Composer(self._context.config_loader, self._config), Shared()

        def begin(words: list[str], number: int) -> Job:
            return train.begin(composer.compose(words), words, number, shared)

        with vectorized.JobBatch(begin) as batch:
            for number, words in enumerate(job_overrides, start=initial_job_idx):
                batch.start(list(words), number)
            return batch.train()
