"""LiteRT.js, which runs `.tflite` files in a browser: its files, got once by the user's own npm."""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path

from kesikaran.core import files, paths, terminal
from kesikaran.core.errors import InputError, printable, without_password

PACKAGE, VERSION = "@litertjs/core", "2.5.3"
_SHA512 = "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ=="
LIBRARY = "dist/index.js"
# Of the package's builds the one that needs neither relaxed SIMD nor headers of a server: any browser runs it.
GLUE, WASM = "wasm/litert_wasm_compat_internal.js", "wasm/litert_wasm_compat_internal.wasm"
_LONGEST_SECONDS = 600
_REMEDY = "or publish with --no-page"


def folder() -> Path:
    """The folder with the files `LIBRARY`, `GLUE` and `WASM` of the package, in the cache.

    Raises:
        InputError: npm is not installed or does not get the package, what it gets is not the package that is known, or
            the cache is not writable or full.
    """
    target = paths.cache_dir() / "litert" / VERSION
    wanted = (LIBRARY, GLUE, WASM)
    return files.build_once(target, "whole", lambda fresh: _unpack(_packed(), wanted, fresh))


def _packed() -> bytes:
    """The package's archive."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"the page in the browser needs {PACKAGE} and npm is not installed: install it, {_REMEDY}")
    print(f"Getting {PACKAGE} {VERSION} by npm, once ...")
    with tempfile.TemporaryDirectory() as place:
        # `npm pack` of a package that was published runs none of its scripts.
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--json", "--ignore-scripts"]
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=_LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise InputError(f"npm pack {PACKAGE} took over {_LONGEST_SECONDS} s: look at it, {_REMEDY}") from None
        terminal.stop_if_asked()
        archives = list(Path(place).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            raise InputError(f"npm pack {PACKAGE}@{VERSION} fails ({_reason(done)}): mend it, {_REMEDY}")
        content = archives[0].read_bytes()
    if b64encode(hashlib.sha512(content).digest()).decode() != _SHA512:
        raise InputError(f"npm's {PACKAGE} {VERSION} is not the one that is known, by its SHA-512: {_REMEDY}")
    return content


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What npm says of its failure: the summary of its JSON, else its first line."""
    try:
        summary = str(json.loads(done.stdout)["error"]["summary"])
    except (ValueError, LookupError, TypeError):
        summary = done.stderr
    lines = [line for line in summary.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
    return printable(without_password(lines[0]))[:300]


def _unpack(content: bytes, wanted: tuple[str, ...], fresh: Path) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            for name in wanted:
                member = archive.extractfile(f"package/{name}")
                assert member, f"{name} is a file of the package with this SHA-512"
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_bytes(member.read())
    (fresh / "whole").touch()
