"""What a person types answers at once and from anywhere: --help, TAB, the wheel, the console script."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done, Made

from kesikaran.core import paths

REPOSITORY = paths.checkout()
PROBE = """
import sys
sys.argv = ["kesikaran-train", *sys.argv[1:]]
from kesikaran import train
try:
    train.main()
except SystemExit as stop:
    print("exit", stop.code)
print([name for name in ("tensorflow", "tf_keras", "mlflow", "pandas") if name in sys.modules])
"""


def probe(*words: str, **environment: str) -> list[str]:
    """The lines that the program prints, then the heavy modules that it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_help_helps_and_loads_nothing_heavy() -> None:
    *lines, heavy = probe("--help")
    text = "\n".join(lines)
    assert heavy == "[]"
    assert "python -m kesikaran.train -m head.dropout=0.1,0.3" in text
    assert re.search(
        r"imbalance=class_weight, focal, logit_adjusted, none \(default\), oversample,\s+undersample", text
    )
    assert re.search(r"^  optimizer.lr=0.001 +\w", text, re.MULTILINE)


def test_tab_completes_and_loads_nothing_heavy() -> None:
    *lines, heavy = probe("-sc", "query=bash", COMP_LINE="kesikaran-train optimizer=ad", COMP_POINT="28")
    assert lines[0].split() == ["optimizer=adam", "optimizer=adamw"]
    assert heavy == "[]"
    assert "optimizer.lr=" in probe("-sc", "query=bash", COMP_LINE="kesikaran-train optimizer.l", COMP_POINT="27")[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as `pip install .` builds it and unpacked into a folder of its own."""
    assert REPOSITORY is not None
    root = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(root), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = root.glob("kesikaran-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "site")
    return root / "site"


def test_the_wheel_brings_every_option_and_nothing_else(site: Path) -> None:
    assert REPOSITORY is not None
    options = {path.relative_to(REPOSITORY / "conf") for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert {path.relative_to(site / "kesikaran/conf") for path in (site / "kesikaran/conf").rglob("*.yaml")} == options
    assert {path.name.split("-")[0] for path in site.iterdir()} == {"kesikaran", "hydra_plugins"}


def test_the_wheel_brings_every_file_of_the_package(site: Path) -> None:
    assert REPOSITORY is not None
    files = [path.relative_to(REPOSITORY) for path in (REPOSITORY / "kesikaran").rglob("*.*") if path.is_file()]
    wanted = {path for path in files if "__pycache__" not in path.parts}
    assert Path("kesikaran/reports/templates/base.html") in wanted
    assert {path for path in wanted if not (site / path).is_file()} == set()


def test_the_wheel_trains_from_any_folder(site: Path, made: Made, tmp_path: Path) -> None:
    """Without the checkout: its own conf/, and the store in the current folder."""
    where = {**os.environ, "PYTHONPATH": str(site)}
    del where["MLFLOW_TRACKING_URI"]
    script = "import sys; from kesikaran.train import main; sys.exit(main())"  # what the console script is
    words = [*made.words, "tracking.log_model=false"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env=where, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(
        "Look at it:  mlflow ui   (then http://127.0.0.1:5000/#/experiments/1/runs"
    )
    assert (tmp_path / "mlflow.db").is_file()
    assert list(tmp_path.glob("mlruns/made/*/artifacts/confusion_matrix_test.png"))
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlruns"}


def test_the_wheel_has_every_command(site: Path, tmp_path: Path) -> None:
    (declared,) = site.glob("kesikaran-*.dist-info/entry_points.txt")
    scripts = [line.split(" = ")[0] for line in declared.read_text().splitlines()[1:]]
    assert sorted(scripts) == [
        "kesikaran", "kesikaran-compare", "kesikaran-evaluate", "kesikaran-predict", "kesikaran-train"
    ]  # fmt: skip
    (tmp_path / "label.csv").write_text("objectId,value\n" + "".join(f"{i:040x}.jpg,{i % 2}\n" for i in range(512)))
    command = [sys.executable, "-m", "kesikaran", "data", "split", "label.csv"]
    where = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, env=where, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "split_label.csv").is_file()


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("kesikaran-train")
    out = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert out.startswith("Train a classifier head on a frozen backbone")


def test_the_split_script(script: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    assert REPOSITORY is not None
    golden = REPOSITORY / "tests" / "golden"
    (tmp_path / "label.csv").write_bytes(gzip.decompress((golden / "label.csv.gz").read_bytes()))
    command = [sys.executable, str(REPOSITORY / "scripts" / "split.py")]
    done = subprocess.run([*command, "label.csv"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = gzip.decompress((golden / "split_label.csv.gz").read_bytes())
    assert (tmp_path / "split_label.csv").read_bytes() == expected
    assert "train       6126  13532  19658" in done.stdout

    monkeypatch.chdir(tmp_path)
    for words, says in (
        (["no.csv"], "label file no.csv does not exist"),
        (["label.csv", "--out", "label.csv"], "--out label.csv is label.csv itself"),
        (["label.csv", "--out", "no/split.csv"], "no/split.csv cannot be written: "),
    ):
        refused = script("split", *words)
        assert refused.code == 1
        assert refused.err.startswith("error: ")
        assert says in refused.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["label.csv", "split_label.csv"]

    # The label file grows by 300 images of the rarer label in the test window.
    more = "".join(f"{i:038x}07.jpg,0\n" for i in range(1, 301))
    (tmp_path / "grown.csv").write_text((tmp_path / "label.csv").read_text() + more)
    moved = {
        "--against": "\n300 images that were trained on are now in test.",
        "--pin": "\n0 images that were trained on are now in test.",
    }
    for option, said in moved.items():
        words = ["grown.csv", option, "split_label.csv", "--out", f"out{option}.csv"]
        moves = script("split", *words)
        assert moves.code == 0, moves.err
        assert said in moves.out
        assert "Images by their side in split_label.csv (rows) and now (columns):" in moves.out
    other = f"objectId,value,type\n{'a' * 40}.jpg,1,test\n{'b' * 40}.jpg,0,train\n"
    (tmp_path / "other.csv").write_text(other)
    words = ["grown.csv", "--against", "other.csv"]
    refused = script("split", *words)
    assert (refused.code, "share no image" in refused.err) == (1, True)
    assert (tmp_path / "split_label.csv").read_bytes() == expected, "nothing was written"
