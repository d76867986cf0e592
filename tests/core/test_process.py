"""What every process sets before the large libraries are loaded, and how a module that is no command ends."""

import getpass
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from kesikaran.core import process

ASK = """
import os, signal, warnings
from kesikaran.core import process, terminal
process.start()
process.start()
warnings.warn("pkg_resources is deprecated as an API")
print(os.environ["TF_CPP_MIN_LOG_LEVEL"], os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["HYDRA_FULL_ERROR"])
print(all(signal.getsignal(number) is terminal._stop for number in terminal.STOPS))
"""


@pytest.mark.parametrize(("given", "level"), [({}, "3"), ({"TF_CPP_MIN_LOG_LEVEL": "0"}, "0")])
def test_a_process_is_quiet_and_heeds_a_stop_and_a_users_setting_wins(given: dict[str, str], level: str) -> None:
    where = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "MLFLOW_", "HYDRA_"))}
    done = subprocess.run([sys.executable, "-c", ASK], env=where | given, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{level} true 1\nTrue\n", "")


def test_a_user_id_without_a_name_has_a_home_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is started with `--user 12345`."""

    def unknown(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)
    with pytest.raises(RuntimeError, match="home"):
        Path.home()
    process.name_the_user()
    assert (os.environ["HOME"], getpass.getuser()) == ("/", str(os.getuid()))
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USER", "me")
    process.name_the_user()
    assert (os.environ["HOME"], getpass.getuser()) == ("/home/me", "me")


@pytest.mark.parametrize(("value", "ends"), [("1", True), ("True", True), ("0", False), ("", False), (None, False)])
def test_legacy_keras_ends_the_process(value: str | None, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_USE_LEGACY_KERAS", value)
    if ends:
        with pytest.raises(SystemExit, match="error: TF_USE_LEGACY_KERAS is set"):
            process.refuse_legacy_keras()
    else:
        process.refuse_legacy_keras()


def test_a_module_that_is_no_command_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        process.elsewhere("kesikaran data split")
    assert end.value.code == 2
    assert capsys.readouterr() == ("", "This module is no command; type:  kesikaran data split --help\n")
