"""The house rules, each as a test, and each check shown able to fail. The arrows between the wings are contracts of
import-linter in pyproject.toml."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kesikaran.config import compose
from kesikaran.core import paths

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "kesikaran"
ROOMS = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem != "__init__"
}
COMMANDS = [room for room in ROOMS if room.startswith("cli.")]
PURE = [room for room in ROOMS if room.split(".")[0] in ("core", "config", "metrics", "analysis")]
HEAVY = ("tensorflow", "tf_keras", "keras", "tensorflow_hub", "mlflow", "hydra")
LIBRARIES = ("pandas", "numpy", "scipy", "PIL", "sklearn", "matplotlib", "pyarrow", "jinja2")


def loaded_by(rooms: list[str], *heavy: str) -> list[str]:
    """Which of `heavy` a fresh process has loaded after importing the rooms."""
    code = "import " + ", ".join(f"kesikaran.{room}" for room in rooms)
    ask = f"{code}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    found = ast.literal_eval(out.splitlines()[-1])
    assert isinstance(found, list)
    return found


def test_core_config_metrics_and_analysis_load_nothing_heavy() -> None:
    # In one process: where all of them together load nothing heavy, none does alone.
    assert len(PURE) > 25
    assert loaded_by(PURE, *HEAVY) == []


@pytest.mark.tensorflow
def test_the_store_of_runs_loads_no_tensorflow() -> None:
    tracking = [room for room in ROOMS if room.startswith("tracking.")]
    assert loaded_by(tracking, "tensorflow", "tf_keras", "hydra", "mlflow") == ["mlflow"]


@pytest.mark.tensorflow
def test_the_check_of_what_is_loaded_can_fail() -> None:
    assert loaded_by(["data.split", "sweeps.callback"], *HEAVY) == ["hydra"]
    assert loaded_by(["training.device"], *HEAVY)[0] == "tensorflow"


def test_importing_a_door_loads_nothing_heavy() -> None:
    doors = ["train", "evaluate", "compare", *COMMANDS]
    assert len(doors) > 10
    assert loaded_by(doors, *(name for name in HEAVY if name != "hydra"), *LIBRARIES) == []
    with_hydra = ("cli.train", "cli.evaluate", "cli.features_fill", "train", "evaluate")
    assert loaded_by([door for door in doors if door not in with_hydra], "hydra") == []


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
        ("tensorflow_hub", {"models.hub"}),
        (
            "hydra",
            {
                "cli.train",
                "cli.evaluate",
                "cli.features_fill",
                "sweeps.callback",
                "sweeps.composition",
                "sweeps.in_process",
                "sweeps.workers",
                "sweeps.submitit_jobs",
                "sweeps.ray_jobs",
                "sweeps.optuna_search",
                "sweeps.search_space",
            },
        ),
        ("matplotlib", {"reports.figures", "reports.frame", "reports.matrix_pages", "reports.sweep_figures"}),
        (
            "pyarrow",
            {"features.shards", "tracking.prediction_table", "data.csv_file", "publish.prediction_file"},
        ),
        ("openvino", {"features.engines"}),
        ("imagehash", {"data.image_pixels"}),
        ("jinja2", {"reports.document", "publish.card"}),
        ("crepes", {"metrics.conformal"}),
        ("fastapi", {"publish.web_app"}),
        ("starlette", {"publish.web_app", "publish.upload"}),
        ("uvicorn", {"publish.listener"}),
        ("python_multipart", {"publish.upload"}),
        ("markupsafe", set()),
        (
            "sqlalchemy",
            {
                "sweeps.optuna_search",
                "tracking.liveness",
                "tracking.run_store",
                "tracking.store_address",
                "tracking.store_file",
            },
        ),
    ],
)
def test_each_library_has_its_door(module: str, rooms: set[str]) -> None:
    assert rooms_that_import(module, ROOMS) == rooms


def test_the_check_of_doors_can_fail() -> None:
    assert rooms_that_import("mlflow", {"x": ast.parse("def f():\n    from mlflow.data import y")}) == {"x"}


def lint_imports(folder: Path) -> dict[str, str]:
    """The contracts of a checkout by their names: KEPT or BROKEN."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = dict(re.findall(r"^(\S.*?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert found, done.stdout + done.stderr
    return found


# contract -> (a room, an import that the contract forbids)
PLANTED = {
    "Arrows go down only": ("core/errors.py", "from kesikaran.config import schema"),
    "What computes knows neither the store of runs nor the reports": (
        "models/head.py",
        "from kesikaran.tracking import runs",
    ),
    "The store of runs knows nothing of experiments": ("tracking/queries.py", "from kesikaran.config import schema"),
    "Analysis takes tables and gives findings": ("analysis/wording.py", "from kesikaran.data import split"),
    "Models and features know no metrics": ("features/matrix.py", "from kesikaran.metrics import gate"),
    "Reports are made of tables": ("reports/frame.py", "from kesikaran.features import matrix"),
    "Published models are used without training": (
        "publish/model_template.py",
        "from kesikaran.training import losses",
    ),
    "MLflow has one home": ("reports/run_report.py", "import mlflow"),
    "Hydra has its home beside the doors": ("experiment/job.py", "import hydra"),
    "A composed configuration ends in config.compose": ("data/split.py", "import omegaconf"),
    "TensorFlow stays in the wings that compute with it": ("metrics/gate.py", "import tensorflow"),
}


def test_the_contracts_between_the_wings_are_kept_and_each_can_fail(tmp_path: Path) -> None:
    assert lint_imports(REPOSITORY) == dict.fromkeys(PLANTED, "KEPT")
    for name in ("kesikaran", "hydra_plugins", "pyproject.toml"):
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for room, line in PLANTED.values():
        with (tmp_path / "kesikaran" / room).open("a") as file:
            file.write(f"\n{line}\n")
    assert lint_imports(tmp_path) == dict.fromkeys(PLANTED, "BROKEN")


def test_each_room_has_a_name_of_its_own() -> None:
    doors = ("train", "evaluate", "compare", "features", "predict")  # a command is called as the door that leads to it
    names = [room.split(".")[-1] for room in ROOMS if not room.endswith("__main__")]
    rooms = [name for name in names if name not in doors and f"cli.data.{name}" not in ROOMS]
    assert len(rooms) == len(set(rooms)) > 60


def unread(keys: list[str], rooms: dict[str, ast.Module]) -> list[str]:
    """The settings whose name no room but those that declare and check them reads as an attribute."""
    read = {
        node.attr
        for room, tree in rooms.items()
        if room not in ("config.schema", "config.rules", "config.finetune_rules")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    }
    return [key for key in keys if key.split(".")[-1] not in read]


def test_every_setting_is_read() -> None:
    assert unread(list(compose.known_keys()), ROOMS) == []
    assert unread(["head.made_up"], ROOMS) == ["head.made_up"]


def test_every_option_file_says_only_what_the_schema_knows() -> None:
    from omegaconf import OmegaConf

    groups = {key.split(".")[0]: set() for key in compose.known_keys() if "." in key}  # type: ignore[var-annotated]
    for key in compose.known_keys():
        if "." in key:
            groups[key.split(".")[0]].add(key.split(".")[1])
    for group, fields in groups.items():
        files = list((paths.conf_dir() / group).glob("*.yaml"))
        assert files, group
        for file in files:
            assert set(OmegaConf.load(file)) <= fields, file
