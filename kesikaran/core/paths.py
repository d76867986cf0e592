"""Where files lie: the configuration, the cache, the store of runs."""

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parents[1]


def checkout() -> Path | None:
    """The repository's root when the package runs from a checkout, None when it runs from a wheel."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "conf" / "config.yaml").is_file() else None


def conf_dir() -> Path:
    """The folder of Hydra's configuration: `conf/` of the checkout, or its copy inside the wheel."""
    root = checkout()
    return root / "conf" if root else _PACKAGE / "conf"


def home() -> Path:
    """The folder of `mlflow.db` and `mlruns/`: the checkout's root, else the current folder. Absolute."""
    return checkout() or Path.cwd()


def cache_dir() -> Path:
    """`$KESIKARAN_CACHE`, else the user's cache directory. Absolute; not created here."""
    given = os.environ.get("KESIKARAN_CACHE")
    return Path(os.path.expanduser(given)).absolute() if given else Path(platformdirs.user_cache_dir("kesikaran"))
