"""Train on made-up features of many images and measure the memory: `python scripts/growth.py 10000 1000000`."""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from kesikaran.config.schema import BackboneConfig
from kesikaran.features import extract
from kesikaran.features.shards import Shards
from kesikaran.models import backbone

_WIDTH = 1280
_SHARD_IMAGES = 4096


def main() -> None:
    parser = argparse.ArgumentParser(
        description="For each number of images: make up features in a temporary cache, and empty files in the place "
        "of the images, train on them with `python -m kesikaran.train`, and print as a line of JSON the seconds of "
        "the run and the largest memory of its process: anonymous (what only swapping could free) and resident "
        "(with mapped files, which the kernel drops when it needs the room). A million images take 11 GB of disk "
        "and some minutes."
    )
    parser.add_argument("images", type=int, nargs="+", help="numbers of images, such as 10000 1000000")
    parser.add_argument("--epochs", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--folder", help="where the temporary cache is made; default: the system's")
    words = parser.parse_args()
    for images in words.images:
        with tempfile.TemporaryDirectory(prefix="kesikaran-growth-", dir=words.folder) as root:
            print(json.dumps(grow(images, words.epochs, Path(root))), flush=True)


def grow(images: int, epochs: int, root: Path) -> dict[str, float]:
    """Make `images` up below the empty folder `root` and train on them.

    Returns:
        images, seconds (of the whole process), anonymous_bytes and resident_bytes (its peaks).

    Raises:
        RuntimeError: the run failed; what it said on stderr.
    """
    make(images, root)
    data = ["data=label_csv", f"data.labels={root / 'label.csv'}", f"data.images={root / 'images'}", "data.name=growth"]
    module = ["backbone=efficientnet_b0", f"backbone.handle={root / 'backbone'}", "backbone.image_size=32"]
    store = {"KESIKARAN_CACHE": str(root / "cache"), "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}"}
    with (root / "log").open("w+") as log:
        began = time.monotonic()
        command = [sys.executable, "-m", "kesikaran.train", *data, *module, f"fit.epochs={epochs}"]
        with subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | store) as run:
            peak = resident = 0
            while run.poll() is None:
                peak = max(peak, _memory_bytes(run.pid, "RssAnon"))
                resident = _memory_bytes(run.pid, "VmHWM") or resident
                time.sleep(0.02)
        seconds = time.monotonic() - began
        log.seek(0)
        if run.returncode:
            raise RuntimeError(f"the run on {images} images failed: {log.read()}")
    return {"images": images, "seconds": seconds, "anonymous_bytes": peak, "resident_bytes": resident}


def make(images: int, root: Path) -> None:
    """label.csv, images/ (empty files), backbone/ (of the right width, and never called) and the cache's shards."""
    import tf_keras

    layers = tf_keras.layers
    stack = [tf_keras.Input((None, None, 3)), layers.Conv2D(_WIDTH, 5, 16), layers.GlobalAveragePooling2D()]
    tf_keras.Sequential(stack).save(root / "backbone", save_format="tf")
    config = BackboneConfig(handle=str(root / "backbone"), image_size=32)
    store = root / "cache" / "features" / extract.cache_key(backbone.load(config.handle, 32), config)
    store.mkdir(parents=True)
    for byte in range(256):
        (root / "images" / f"{byte:02x}").mkdir(parents=True)
    random, shards = np.random.default_rng(0), Shards(store)
    direction = random.normal(0, 0.1, _WIDTH).astype(np.float32)
    with (root / "label.csv").open("w") as labels:
        labels.write("objectId,value\n")
        for first in range(0, images, _SHARD_IMAGES):
            numbers = range(first, min(first + _SHARD_IMAGES, images))
            sha1s = [hashlib.sha1(str(n).encode(), usedforsecurity=False) for n in numbers]
            value = (random.random(len(sha1s)) < 1 / 3).astype(np.float32)
            made = random.standard_normal((len(sha1s), _WIDTH), np.float32) + value[:, None] * direction
            shards.append(dict(zip([sha1.digest() for sha1 in sha1s], made, strict=True)))
            for sha1, one in zip(sha1s, value, strict=True):
                name = f"{sha1.hexdigest()}.jpg"
                os.close(os.open(root / "images" / name[:2] / name, os.O_CREAT | os.O_WRONLY))
                labels.write(f"{name},{one:.0f}\n")


def _memory_bytes(pid: int, field: str) -> int:
    """A line of /proc/PID/status; 0 where the process has just ended."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    main()
