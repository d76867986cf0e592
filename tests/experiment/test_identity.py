"""What a job is, before its run opens: what changes the computation changes the identity."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Made

from kesikaran.config.schema import DataConfig, DataSource, Experiment, Rule, SplitConfig
from kesikaran.core.errors import InputError
from kesikaran.experiment import identity
from kesikaran.experiment.identity import Asked


@pytest.fixture
def asks(made: Made, tmp_path: Path) -> Callable[..., str]:
    """The identity of an experiment on a copy of the made images, after `change(folder)`."""

    def ask(change: Callable[[Path], object] = lambda folder: None, **data: object) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        (folder / "images").mkdir(parents=True)
        for image in made.images.iterdir():
            (folder / "images" / image.name).hardlink_to(image)
        (folder / "label.csv").write_bytes(made.labels.read_bytes())
        (folder / "backbone").mkdir()
        for file in made.backbone.rglob("*"):
            if file.is_file():
                target = folder / "backbone" / file.relative_to(made.backbone)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
        change(folder)
        e = Experiment(data=DataConfig(DataSource.label_csv, "made", str(folder / "label.csv"), str(folder / "images")))
        for key, value in data.items():
            setattr(e.data, key, value)
        e.backbone.handle = str(folder / "backbone")
        if (folder / "split.csv").exists():
            e.split = SplitConfig(Rule.from_file, file=str(folder / "split.csv"))
        return Asked().fingerprint(e)

    return ask


def first_image(folder: Path) -> Path:
    return min((folder / "images").iterdir())


def replace(path: Path, content: bytes) -> None:
    path.unlink()  # the file is a link to that of other tests
    path.write_bytes(content)


def turn_a_label(folder: Path) -> None:
    table = pd.read_csv(folder / "label.csv")
    flipped = [1 - table["value"][0], *table["value"][1:]]
    table.assign(value=flipped).to_csv(folder / "label.csv", index=False)


def add_a_column(folder: Path) -> None:
    table = pd.read_csv(folder / "label.csv")
    table.assign(module=range(len(table))).to_csv(folder / "label.csv", index=False)


def write_split(folder: Path, side: str = "train") -> None:
    table = pd.read_csv(folder / "label.csv")
    kinds = ["validation", "test", *[side] * 2] * len(table)
    table.assign(type=kinds[: len(table)]).to_csv(folder / "split.csv", index=False)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a label": turn_a_label,
    "a column, by which a split may go": add_a_column,
    "a missing image": lambda folder: first_image(folder).unlink(),
    "an image that is cut off": lambda folder: replace(first_image(folder), first_image(folder).read_bytes()[:-9]),
    "the backbone": lambda folder: (folder / "backbone" / "keras_metadata.pb").write_bytes(b"another"),
}


@pytest.mark.tensorflow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_the_computation_changes_the_identity(
    change: Callable[[Path], object], asks: Callable[..., str]
) -> None:
    assert asks() == asks()
    assert asks(change) != asks()


@pytest.mark.tensorflow
def test_a_split_file_counts_by_its_content(asks: Callable[..., str]) -> None:
    assert asks(write_split) == asks(write_split) != asks()
    assert asks(lambda folder: write_split(folder, "test")) != asks(write_split)


@pytest.mark.tensorflow
def test_another_file_in_the_folder_changes_nothing(asks: Callable[..., str]) -> None:
    assert asks(lambda folder: (folder / "images" / "note.txt").write_text("x")) == asks()


@pytest.mark.tensorflow
def test_fewer_images_are_others(asks: Callable[..., str]) -> None:
    assert asks(limit=100) == asks(limit=100) != asks()


@pytest.mark.tensorflow
def test_a_file_is_read_once_for_all_jobs(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from kesikaran.data import label_file

    read, reads = label_file.read_labels, []
    monkeypatch.setattr(label_file, "read_labels", lambda path: reads.append(path) or read(path))  # type: ignore[func-returns-value]
    asked, data = Asked(), DataConfig(DataSource.label_csv, "made", str(made.labels), str(made.images))
    assert asked.images(data) is asked.images(data)
    assert asked.images(DataConfig(**{**vars(data), "limit": 50})) is not asked.images(data)
    assert len(reads) == 2


@pytest.mark.tensorflow
def test_a_long_listing_is_not_kept(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataConfig(DataSource.label_csv, "made", str(made.labels), str(made.images))
    short = Asked().images(data)
    assert short.files() is short.files()
    monkeypatch.setattr(identity, "_KEPT_FILES", 10)
    long = Asked().images(data)
    assert long.listing is None
    assert long.files() == short.files()
    assert long.digest == short.digest


@pytest.mark.tensorflow
def test_a_backbone_that_was_made_anew_is_another(asks: Callable[..., str]) -> None:
    asked = Asked({}, {}, {"handle": "a"})
    assert not asked.learn_backbone("handle", "a")
    assert asked.learn_backbone("handle", "b")
    assert not asked.learn_backbone("handle", "b")


def test_what_is_wrong_with_the_data_is_said() -> None:
    with pytest.raises(InputError, match="image folder nowhere does not exist"):
        Asked().images(DataConfig(DataSource.label_csv, "made", "nothing.csv", "nowhere"))


def test_the_code_is_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiment").mkdir()
    room = tmp_path / "experiment" / "identity.py"
    room.write_text("a = 1\n")
    monkeypatch.setattr(identity, "__file__", str(room))
    first = identity.code.__wrapped__()
    assert identity.code.__wrapped__() == first
    room.write_text("a = 2\n")
    assert identity.code.__wrapped__() != first
    room.write_text("a = 1\n")
    monkeypatch.setattr(identity, "version", lambda name: "0")
    assert identity.code.__wrapped__() != first


@pytest.mark.tensorflow
def test_it_is_known_without_loading_tensorflow(made: Made) -> None:
    code = (
        "import sys\n"
        "from kesikaran.config.schema import DataConfig, DataSource, Experiment\n"
        "from kesikaran.experiment.identity import Asked\n"
        "e = Experiment(data=DataConfig(DataSource.label_csv, 'made', *sys.argv[1:3]))\n"
        "e.backbone.handle = sys.argv[3]\n"
        "print(Asked().fingerprint(e))\n"
        "assert 'tensorflow' not in sys.modules and 'mlflow' not in sys.modules"
    )
    words = [sys.executable, "-c", code, str(made.labels), str(made.images), str(made.backbone)]
    assert len(subprocess.check_output(words, text=True).strip()) == 32
