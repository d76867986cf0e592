"""The house rules, each as a test, and each check shown able to fail."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from kesikaran import config, paths

PACKAGE = Path(config.__file__).parent
ROOMS = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem != "__init__"
}
COMMANDS = [room for room in ROOMS if room.startswith("cli.")]
HEADS = (
    "config",
    "ranges",
    "split",
    "imbalance",
    "decisions",
    "scores",
    "influence",
    "intervals",
    "paired",
    "prevalence",
    "curves",
    "comparison",
    "ranking",
    "crossval",
    "study",
    "gate",
    "leak",
    "duplicates",
    "figures",
    "sweep_figures",
)
HEAVY = ("tensorflow", "tf_keras", "keras", "tensorflow_hub", "mlflow", "hydra")


def loaded_by(code: str, *heavy: str) -> list[str]:
    """Which of `heavy` a fresh process has loaded after `code`."""
    ask = f"{code}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    found = ast.literal_eval(out.splitlines()[-1])
    assert isinstance(found, list)
    return found


def test_heads_are_pure() -> None:
    # In one process: where all of them together load nothing heavy, none does alone.
    assert loaded_by("import " + ", ".join(f"kesikaran.{head}" for head in HEADS), *HEAVY) == []


@pytest.mark.tensorflow
def test_the_check_of_heads_can_fail() -> None:
    assert loaded_by("import kesikaran.split, hydra", *HEAVY) == ["hydra"]
    assert loaded_by("import kesikaran.device", *HEAVY)[0] == "tensorflow"


def test_importing_the_door_loads_nothing_heavy() -> None:
    doors = ["kesikaran.train", "kesikaran.compare", *(f"kesikaran.{room}" for room in COMMANDS)]
    assert len(doors) > 10
    libraries = ("pandas", "numpy", "scipy", "PIL", "sklearn", "matplotlib", "pyarrow")
    heavy = (*(name for name in HEAVY if name != "hydra"), *libraries)
    assert loaded_by("import " + ", ".join(doors), *heavy) == []
    with_hydra = ("kesikaran.cli.train", "kesikaran.cli.evaluate", "kesikaran.train")
    assert loaded_by("import " + ", ".join(door for door in doors if door not in with_hydra), "hydra") == []


def rooms_that_import(module: str, rooms: dict[str, ast.Module]) -> set[str]:
    found = set()
    for room, tree in rooms.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == module for name in names):
                found.add(room)
    return found


@pytest.mark.parametrize(
    ("module", "rooms"),
    [
        ("mlflow", {"tracking", "records"}),
        ("tensorflow_hub", {"backbone"}),
        ("hydra", {"cli.train", "job", "evaluation", "sweep", "vectorized"}),
        ("omegaconf", {"cli.train", "job", "evaluation", "sweep", "vectorized", "config"}),
        ("matplotlib", {"figures", "sweep_figures"}),
        ("pyarrow", {"shards"}),
        ("openvino", {"engine"}),
        ("imagehash", {"imagefile"}),
    ],
)
def test_each_library_has_its_door(module: str, rooms: set[str]) -> None:
    assert rooms_that_import(module, ROOMS) == rooms


def test_the_check_of_doors_can_fail() -> None:
    assert rooms_that_import("mlflow", {"x": ast.parse("def f():\n    from mlflow.data import y")}) == {"x"}


def rooms_in(tree: ast.Module) -> set[str]:
    """The rooms that a room imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kesikaran":
            room = (node.module or "").partition(".")[2]
            found |= {room} if room else {alias.name for alias in node.names}
    return found


def test_words_import_words_only() -> None:
    assert rooms_in(ROOMS["config"]) == {"errors"}
    assert rooms_in(ROOMS["ranges"]) == {"config", "errors"}
    assert rooms_in(ast.parse("def f():\n    from kesikaran import scores")) == {"scores"}


def unread(keys: list[str], rooms: dict[str, ast.Module]) -> list[str]:
    """The settings whose name no room but those that declare and check them reads as an attribute."""
    read = {
        node.attr
        for room, tree in rooms.items()
        if room not in ("config", "ranges")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    }
    return [key for key in keys if key.split(".")[-1] not in read]


def test_every_setting_is_read() -> None:
    assert unread(config.known_keys(), ROOMS) == []
    assert unread(["head.made_up"], ROOMS) == ["head.made_up"]


def test_every_option_file_says_only_what_the_schema_knows() -> None:
    from omegaconf import OmegaConf

    groups = {key.split(".")[0]: set() for key in config.known_keys() if "." in key}  # type: ignore[var-annotated]
    for key in config.known_keys():
        if "." in key:
            groups[key.split(".")[0]].add(key.split(".")[1])
    for group, fields in groups.items():
        files = list((paths.conf_dir() / group).glob("*.yaml"))
        assert files, group
        for file in files:
            assert set(OmegaConf.load(file)) <= fields, file
