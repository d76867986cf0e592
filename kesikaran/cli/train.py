"""`kesikaran train`: Hydra composes the configuration of each job, `kesikaran.job` runs it.

Nothing heavy is imported before a job starts, so that --help and TAB answer at once.
"""

import gc
import sys

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kesikaran import config, gate, paths, process, sweep, terminal
from kesikaran.cli import door
from kesikaran.errors import InputError
from kesikaran.job import job


def main() -> None:
    """The command line. Exit codes: 0 done, 1 an error, 3 a gate failed, 130 Ctrl-C, 143 SIGTERM."""
    process.refuse_legacy_keras()
    gc.disable()  # nothing of an import is garbage, and looking takes a fifth of the imports' time
    with door.opened():
        ConfigStore.instance().store(name="schema", node=config.Experiment)
        OmegaConf.register_new_resolver("kesikaran_cache", lambda: str(paths.cache_dir()), replace=True)
        status = "KILLED"
        try:
            hydra.main(version_base="1.3", config_path=str(paths.conf_dir()), config_name="config")(job)()
            status = "FINISHED"
        except InputError:  # its job has said it
            status = "FAILED"
            sys.exit(1)
        except (HydraException, OmegaConfBaseException) as error:
            status = "FAILED"
            raise InputError(config.explain(error)) from None
        except Exception:
            status = "FAILED"
            raise
        except SystemExit:
            if terminal.stop_asked():  # said before the sweep's closing lines, which take a while
                print("Stopped. Features computed so far are kept: the same command goes on from there.",
                      file=sys.stderr)  # fmt: skip
            raise
        finally:
            gc.enable()
            passed = sweep.close(status)
    if not passed:
        sys.exit(gate.FAILED_EXIT)
