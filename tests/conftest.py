"""One cache and one store for the whole suite, so that no test touches the user's own."""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

# Before anything of the package is imported: it reads the store's address once.
_ROOT = tempfile.TemporaryDirectory(prefix="kesikaran-tests-")
os.environ["KESIKARAN_CACHE"] = f"{_ROOT.name}/cache"
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{_ROOT.name}/mlflow.db"
for name in ("TFHUB_CACHE_DIR", "TF_USE_LEGACY_KERAS", "KESIKARAN_GIT_COMMIT"):
    os.environ.pop(name, None)
