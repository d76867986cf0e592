"""The launcher `hydra/launcher=vectorized`. Hydra finds plugins in this namespace only, and imports it at every start,
so the work is done in `kesikaran.sweeps.vectorized`, imported late."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class VectorizedLauncher(Launcher):
    """Runs the jobs of a sweep in one process and trains those together whose heads are alike."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from kesikaran.cli import train
        from kesikaran.experiment.job import Shared
        from kesikaran.sweeps import vectorized

        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        with vectorized.JobBatch(train.begin, Shared()) as batch:
            for number, overrides in enumerate(job_overrides, start=initial_job_idx):
                batch.add(self._run(batch.start, list(overrides), number))
            return batch.train()

    def _run(self, task: TaskFunction, overrides: list[str], number: int) -> JobReturn:
        config = self._context.config_loader.load_sweep_config(self._config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        result = run_job(
            hydra_context=self._context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        return result
