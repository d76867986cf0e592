"""The command `kesikaran`: its list, its commands, and what every command has in common."""

import importlib
import os
import pkgutil
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Done
from omegaconf import OmegaConf

import kesikaran.cli
from kesikaran.cli import __main__ as command
from kesikaran.cli import door, train
from kesikaran.core import paths, process, terminal
from kesikaran.core.errors import InputError
from kesikaran.data import ingest
from kesikaran.experiment.job import Shared
from kesikaran.metrics import gate

HEAVY = ("tensorflow", "tf_keras", "mlflow", "pandas", "numpy", "scipy", "PIL", "pyarrow")
ROOMS = {
    "data.ingest": "data ingest",
    "data.split": "data split",
    "data.verify": "data verify",
    "data.near_duplicates": "data near-duplicates",
    "reports.label_page": "data label-doubts",
    "data.relabel": "data relabel",
}


@pytest.fixture
def main() -> Callable[[], None]:
    """What the console script `kesikaran` calls."""
    root = paths.checkout()
    assert root is not None
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = declared["kesikaran"].partition(":")
    called: Callable[[], None] = getattr(importlib.import_module(module), name)
    return called


def fresh(*words: str) -> tuple[Done, list[str]]:
    """(what `kesikaran WORDS` left in a process of its own, which modules it had loaded at the end)."""
    code = f"""
import atexit, sys
sys.argv = ["kesikaran", *{words!r}]
atexit.register(lambda: print("|", *sys.modules))
from kesikaran.cli.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    out, _, modules = done.stdout.rpartition("|")
    return Done(done.returncode, out, done.stderr), modules.split()


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",), ("data",), ("data", "--help")], ids=" ".join)
def test_the_list_has_a_line_a_command_and_loads_nothing(words: tuple[str, ...]) -> None:
    done, modules = fresh(*words)
    assert (done.code, done.err) == (0, "")
    listed = [name for name in command.COMMANDS if name.startswith("data ") or "data" not in words]
    lines = [line.strip() for line in done.out.splitlines() if line.startswith("  ")]
    assert [re.sub("  .*", "", line) for line in lines] == [f"kesikaran {name}" for name in listed]
    assert max(map(len, done.out.splitlines())) <= 120
    loaded = {name for name in modules if name.startswith("kesikaran")}
    assert loaded == {
        "kesikaran",
        *(f"kesikaran.{name}" for name in ("core", "core.errors", "core.streams", "cli", "cli.__main__")),
    }
    assert not {"hydra", "omegaconf", "tqdm", *HEAVY} & set(modules)


@pytest.mark.parametrize("name", command.COMMANDS)
def test_each_command_helps_and_loads_no_other(name: str) -> None:
    done, modules = fresh(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    older = {  # these have a name of their own
        "train": "  python -m kesikaran.train ",
        "evaluate": "usage: python -m kesikaran.evaluate ",
        "compare": "usage: kesikaran-compare ",
        "features": "usage: python -m kesikaran.features ",
    }
    assert older.get(name, f"usage: kesikaran {name} ") in done.out
    doors = {one for one, _ in command.COMMANDS.values()}
    assert doors & set(modules) == {command.COMMANDS[name][0]}
    assert not set(HEAVY) & set(modules)
    if name not in ("train", "evaluate"):
        assert "hydra" not in modules


@pytest.mark.parametrize("name", [name for name in command.COMMANDS if name.startswith("data ")])
def test_a_command_on_data_is_a_module_too(name: str) -> None:
    module = name.removeprefix("data ").replace("-", "_")
    done = subprocess.run([sys.executable, "-m", f"kesikaran.{module}", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_every_module_with_a_main_is_a_command() -> None:
    found = [module.name for module in pkgutil.walk_packages(kesikaran.cli.__path__, "kesikaran.cli.")]
    mains = {name for name in found if hasattr(importlib.import_module(name), "main")} - {"kesikaran.cli.__main__"}
    assert mains == {module for module, _ in command.COMMANDS.values()}


@pytest.mark.parametrize("name", command.COMMANDS)
def test_the_words_reach_the_command_as_they_are(
    name: str, main: Callable[[], None], run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[list[str]] = []
    module = importlib.import_module(command.COMMANDS[name][0])
    monkeypatch.setattr(module, "main", lambda: came.append(sys.argv))
    words = ["-m", "head.dropout=0.1,0.3", "--help", "data", 'a "quoted" word', ""]
    assert run(main, "kesikaran", *name.split(), *words).code == 0
    assert [argv[1:] for argv in came] == [words]


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("trian", "train"),
        ("ingest", "data ingest"),
        ("label_doubts", "data label-doubts"),
        ("data splt --help", "data split"),
        ("data near_duplicates", "data near-duplicates"),
    ],
)
def test_an_unknown_command_ends_with_2_and_names_the_nearest(
    words: str, near: str, main: Callable[[], None], run: Callable[..., Done]
) -> None:
    done = run(main, "kesikaran", *words.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[0].endswith(f"; do you mean kesikaran {near}?")
    assert "  kesikaran data split " in done.err


def test_a_word_like_no_command_is_not_guessed_at(main: Callable[[], None], run: Callable[..., Done]) -> None:
    done = run(main, "kesikaran", "\x1b[31m", "train")
    assert done.code == 2
    assert done.err.splitlines()[0] == r"error: kesikaran has no command '\x1b[31m'"


@pytest.mark.parametrize("module", ["kesikaran", "kesikaran.cli"])
def test_the_modules_are_the_same_command(module: str) -> None:
    ask = [sys.executable, "-m", module]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == command.usage() + "\n"
    unknown = subprocess.run([*ask, "data", "ingest", "--no"], capture_output=True, text=True)
    assert (unknown.returncode, unknown.stderr.split(" [")[0]) == (2, "usage: kesikaran data ingest")


@pytest.mark.parametrize("name", ["evaluate", "compare", "features"])
def test_the_modules_of_old_are_the_commands(name: str, main: Callable[[], None], run: Callable[..., Done]) -> None:
    ask = [sys.executable, "-m", f"kesikaran.{name}", "--help"]
    done = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert done.stdout == run(main, "kesikaran", name, "--help").out


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_that_is_no_command_says_what_to_type(room: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"kesikaran.{room}", "x"], capture_output=True, text=True)
    assert ROOMS[room] in command.COMMANDS
    says = f"This module is no command; type:  kesikaran {ROOMS[room]} --help\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says)


@pytest.mark.parametrize("name", ["ingest", "split", "verify", "near_duplicates", "label_doubts", "relabel"])
def test_the_script_of_a_checkout_is_the_command(name: str, script: Callable[..., Done], main: Any, run: Any) -> None:
    mine, other = script(name, "--help"), run(main, "kesikaran", "data", name.replace("_", "-"), "--help")
    assert (mine.code, mine.err) == (0, "")
    assert mine.out.split("\n\n")[1:] == other.out.split("\n\n")[1:]
    assert mine.out.startswith(f"usage: {name}.py ")


def test_tab_completes_the_script_that_exists(main: Callable[[], None], run: Callable[..., Done]) -> None:
    done = run(main, "kesikaran", "train", "-sc", "install=bash")
    assert done.out.splitlines()[-1].endswith(" hydra_bash_completion kesikaran-train")


def test_the_layouts_of_ingest_are_all_offered(script: Callable[..., Done]) -> None:
    assert f"--layout {{{','.join(layout.name for layout in ingest.Layout)}}}" in script("ingest", "--help").out


# ---- what every command has in common


@pytest.mark.parametrize("words", [*command.COMMANDS, "data", "\x1b[31m"])
def test_what_a_command_says_of_its_words_steers_no_terminal(
    words: str, main: Callable[[], None], run: Callable[..., Done]
) -> None:
    done = run(main, "kesikaran", *words.split(), "--no\x1b[31m\x9b2J", "\u202e")
    assert done.code in (1, 2)
    assert done.err
    assert not {"\x1b", "\x9b", "\u202e"} & set(done.out + done.err)


@pytest.mark.parametrize(
    "module", sorted({module for module, _ in command.COMMANDS.values()} - {"kesikaran.cli.train"})
)
def test_a_door_of_its_own_says_so_too(module: str, run: Callable[..., Done]) -> None:
    done = run(importlib.import_module(module).main, module, "--no\x1b[31m")
    assert done.code == 2
    assert "\x1b" not in done.out + done.err


def test_a_line_end_of_a_foreign_name_makes_no_second_line(run: Callable[..., Done]) -> None:
    def body() -> None:
        with door.opened():
            raise InputError("there is no run a\nerror: all is\r well")

    assert run(body) == Done(1, "", r"error: there is no run a\nerror: all is\r well" + "\n")


def test_an_input_error_is_one_line(run: Callable[..., Done]) -> None:
    def body() -> None:
        with door.opened("Stopped."):
            raise InputError("no such thing")

    assert run(body) == Done(1, "", "error: no such thing\n")


def test_another_exit_code_is_the_commands_own(run: Callable[..., Done]) -> None:
    def body() -> None:
        with door.opened("Stopped."):
            sys.exit(gate.FAILED_EXIT)

    assert run(body) == Done(3, "", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("stopped", ["", "Stopped. All is kept."])
def test_a_stop_is_said_and_keeps_its_code(number: int, code: int, stopped: str, run: Callable[..., Done]) -> None:
    def body() -> None:
        with door.opened(stopped):
            os.kill(os.getpid(), number)
            terminal.stop_if_asked()

    assert run(body) == Done(code, "", f"{stopped}\n" if stopped else "")


def test_a_defect_keeps_its_traceback(run: Callable[..., Done]) -> None:
    def body() -> None:
        with door.opened("Stopped."):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(body)


@pytest.mark.parametrize("name", [name for name in command.COMMANDS if name.startswith("data ") or name == "features"])
def test_every_process_heeds_a_stop(
    name: str, main: Callable[[], None], run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words: dict[str, list[object]] = {
        "features": ["ls"],
        "data ingest": ["--out", tmp_path, "x=1"],
        "data label-doubts": [],
        "data relabel": [tmp_path, tmp_path / "corrections.csv"],
    }
    started: list[str] = []

    def start() -> None:
        started.append(name)
        raise InputError("far enough")

    monkeypatch.setattr(process, "start", start)
    with pytest.raises(InputError):
        run(main, "kesikaran", *name.split(), *words.get(name, [tmp_path]))
    assert started == [name]


def test_a_job_starts_its_process_for_a_worker_runs_no_main(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> None:
        raise KeyError("started")

    monkeypatch.setattr(process, "start", start)
    with pytest.raises(KeyError, match="started"):
        train.train(OmegaConf.create(), Shared())


def test_a_worker_that_was_told_to_stop_takes_no_further_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_stop_signal", signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        next(train.begin(OmegaConf.create(), [], 0, Shared()))
    assert stop.value.code == 143


def test_a_line_end_in_a_foreign_setting_makes_no_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from kesikaran.cli import compare

    run = SimpleNamespace(run_id="r", name="n\nB: run x", metrics={})
    counts = dict.fromkeys(("n", "ones", "both_right", "only_a_right", "only_b_right", "both_wrong"), 0)
    found = SimpleNamespace(a=run, b=run, params={"seed": ("0\n1 of 1 images", "1")}, differences={}, confidence=0.95,
                            split="test", conclusion="Alike.", remarks=[], **counts)  # fmt: skip
    compare._print_pair(found)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines()[:4] == [
        r"A: run r ('n\nB: run x')", r"B: run r ('n\nB: run x')", r"   'seed: 0\n1 of 1 images in A, 1 in B'", ""
    ]  # fmt: skip


def test_the_list_needs_no_reader() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "kesikaran"], stdout=full, stderr=subprocess.PIPE, text=True)
    lost = "What is printed is lost from here on: No space left on device.\n"
    assert (done.returncode, done.stderr) == (0, lost)
