"""Every command of README.md, README.ja.md and docs/ is run, as it is typed there, and every link leads somewhere.

The reader's machine is made once: folders by the names that the documents use, filled with made images, and a copy of
conf/ in which the demo is these images, the backbones are a toy, and epochs, folds and repetitions are few. So no
command is changed but for the words that stand for a run (RUN, SWEEP, ...), which become ids.

How far a command goes:

- run: through its `main`, in this process, with the exit code that the documents promise. These are nearly all. What
  hands its jobs to other processes (joblib, Slurm, Ray) runs them here; tests/sweeps/test_launchers.py has processes.
- parsed: its words are read by its own parser. These run until Ctrl-C: `mlflow ui`, `mlflow models serve` and
  `kesikaran serve`.
- dry: `make TARGET` is looked up by `make -n`.
- skipped: its block says why, as in ```sh skip: needs a GPU
"""

import ast
import dataclasses
import importlib
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Done, Made, toy_backbone, write_labels

from kesikaran.core import paths

pytestmark = pytest.mark.tensorflow

REPOSITORY = Path(__file__).parents[1]
READMES = [REPOSITORY / "README.md", REPOSITORY / "README.ja.md"]
DOCUMENTS = [*READMES, *sorted((REPOSITORY / "docs").glob("*.md"))]
SKIPS = ("needs a GPU", "needs a server", "needs a cluster", "needs docker", "installs packages", "takes minutes")
FENCE = re.compile(r"^( *)```(\S*) ?(.*?)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PLACEHOLDERS = re.compile(r"\b(RUN_A|RUN_B|RUN|OTHER|SWEEP)\b")
# In the reader's conf/: (an option, text that is there, what stands for it).
SMALLER = [
    ("fit/default.yaml", "epochs: 100", "epochs: 2"),
    ("optimizer/adam.yaml", "lr: 1e-3", "lr: 0.1"),
    ("tracking/default.yaml", "log_model: true", "log_model: false"),
    ("split/sha1_fold.yaml", "folds: 10", "folds: 3"),
    ("split/blocks.yaml", "folds: 10", "folds: 3"),
    ("split/blocks.yaml", "block_size: 64", "block_size: 8"),
    ("experiment/elpv_deitsch.yaml", "656\n  validation_size: 197", "60\n  validation_size: 40"),
    ("experiment/elpv_deitsch.yaml", "range(0,5)", "range(0,2)"),
    ("experiment/seeds.yaml", "seed: range(0,10)", "seed: range(0,2)"),
    ("experiment/uncertainty.yaml", "range(0,17)\n      seed: range(0,4)", "range(0,5)\n      seed: range(0,2)"),
    ("experiment/nested_cv.yaml", "3e-4,1e-3,3e-3\n      head.dropout: 0,0.3", "0.1,0.2\n      head.dropout: 0"),
    ("experiment/imbalance_study.yaml", "class_weight,oversample,undersample,focal,logit_adjusted,prior_shift,", ""),
    ("finetune/probe_then_all.yaml", "epochs: 14", "epochs: 1"),
    ("hydra/sweeper/optuna.yaml", "n_trials: 20", "n_trials: 2"),
]


class Command(NamedTuple):
    """A command of a document, without its comment. line: where its block begins. skip: why it is not run, or empty."""

    line: int
    text: str
    skip: str


def blocks(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """(line, language, what follows it, content) of each block of code."""
    text = path.read_text()
    for found in FENCE.finditer(text):
        indent, language, info, content = found.groups()
        yield text[: found.start()].count("\n") + 1, language, info, re.sub(f"^{indent}", "", content, flags=re.M)


def commands(path: Path) -> Iterator[Command]:
    """The commands of a document, a command of several lines as one."""
    for line, language, info, content in blocks(path):
        if language not in ("sh", "bash", "console"):
            continue
        if language == "console":
            content = "".join(f"{said[2:]}\n" for said in content.splitlines() if said.startswith("$ "))
        skip = info.removeprefix("skip: ") if info.startswith("skip: ") else ""
        assert skip or not info, f"{path.name}:{line} has {info!r} after {language}"
        for text in re.sub(r"\\\n\s*|(?<=\|)\n\s*", " ", content).splitlines():
            if text := re.sub(r"\s+# .*", "", text).strip():
                yield Command(line, text, skip)


@dataclasses.dataclass
class Machine:
    """The reader's. folder: where the reader stands. ids: what a word like RUN stands for. done: the commands that were
    run, each once."""

    folder: Path
    ids: dict[str, str] = dataclasses.field(default_factory=dict)
    done: dict[str, Done] = dataclasses.field(default_factory=dict)
    levels: Counter[str] = dataclasses.field(default_factory=Counter)


def folders(made: Made, root: Path) -> None:
    """What the documents' commands find in the current folder."""
    labels = dict(line.split(",") for line in made.labels.read_text().splitlines()[1:])
    for folder in ("plain", "wanted", "photos", "DATA", "scripts"):
        (root / folder).mkdir()
    for number, (name, label) in enumerate(labels.items()):
        shutil.copy(made.images / name, root / ("wanted" if label == "1" else "plain"))
        if number % 41 == 0:
            shutil.copy(made.images / name, root / "photos" / f"photo {number}{name[40:]}")
    shutil.copytree(made.images, root / "DATA" / "images")
    shutil.copytree(made.images, root / "images")
    write_labels(root / "DATA" / "label.csv", {name: int(label) for name, label in labels.items()})
    header = "objectId,value,position,weight,stratum\n"
    rows = [f"{name},{label},{number},1,{label}\n" for number, (name, label) in enumerate(labels.items())]
    (root / "label.csv").write_text(header + "".join(rows[:200]))
    (root / "grown.csv").write_text(header + "".join(rows))
    name = next(iter(labels))
    (root / "corrections.csv").write_text(f"object_id,label,corrected\n{name},{labels[name]},{1 - int(labels[name])}\n")


def options(root: Path) -> None:
    """The reader's conf/."""
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    own = f"source: label_csv\nname: {{}}\nlabels: {root}/grown.csv\nimages: {root}/images\n"
    (root / "conf/data/elpv.yaml").write_text(own.format("elpv"))
    (root / "conf/data/elpv_deitsch.yaml").write_text(own.format("elpv_deitsch") + "weight: weight\n")
    toy = toy_backbone(root / "backbone", norm=True)
    for backbone in (root / "conf/backbone").glob("*.yaml"):
        backbone.write_text(f"handle: {toy}\nimage_size: 32\n")
    for name, there, instead in SMALLER:
        option = root / "conf" / name
        text = option.read_text()
        assert there in text, option
        option.write_text(text.replace(there, instead))


def blank_page(folder: Path) -> None:
    """In the place of a page that classifies."""
    (folder / "browser").mkdir()
    (folder / "index.html").write_text("")


KEPT: list[Machine] = []


@pytest.fixture
def machine(
    run: Callable[..., Done], made: Made, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Machine:
    """The one machine for all documents, with two runs and a sweep."""
    from kesikaran import train
    from kesikaran.config import run_name, settings_help
    from kesikaran.experiment import identity
    from kesikaran.publish import page
    from kesikaran.sweeps import workers

    is_new = not KEPT
    if is_new:
        root = tmp_path_factory.mktemp("reader")
        folders(made, root)
        options(root)
    reader = Machine(root) if is_new else KEPT[0]
    monkeypatch.chdir(reader.folder)
    monkeypatch.setenv("KESIKARAN_CACHE", str(reader.folder / "cache"))
    monkeypatch.setattr(paths, "conf_dir", lambda: reader.folder / "conf")
    # Each test has these read the conf/ of its own anew.
    for room in (run_name, settings_help):
        for name, read in vars(room).items():
            if hasattr(read, "cache_clear"):
                monkeypatch.setattr(room, name, cache(read.__wrapped__))
    monkeypatch.setattr(identity, "code", lambda: __name__)
    # In the place of other processes, and of a package of npm's registry.
    monkeypatch.setattr(workers, "engine", lambda name: lambda jobs, options: [job() for job in jobs])
    monkeypatch.setattr(page, "check", lambda about: None)
    monkeypatch.setattr(page, "write", lambda folder, *_: blank_page(folder))
    if is_new:
        # OTHER is so much better than RUN that it may take its place.
        first = ["optimizer.lr=1e-6"], ["optimizer.lr=0.3", "seed=1"], ["-m", "optimizer.lr=0.2,0.3", "seed=2"]
        for name, words in zip(("RUN", "OTHER", "SWEEP"), first, strict=True):
            done = run(train.main, "kesikaran-train", *words, "tracking.log_model=true")
            assert done.code == 0, done.err
            reader.ids[name] = re.findall("^(?:Run|Sweep) ([0-9a-f]{32})", done.out, re.M)[-1]
        reader.ids |= {"RUN_A": reader.ids["RUN"], "RUN_B": reader.ids["OTHER"]}
        KEPT.append(reader)
    return reader


def main_of(module: str) -> Callable[[], object]:
    """What `python -m MODULE` runs."""
    found = importlib.util.find_spec(module)
    if found and found.submodule_search_locations:
        found = importlib.util.find_spec(f"{module}.__main__")
    assert found, f"there is no module {module}"
    name = found.name.removeprefix("kesikaran.")
    place = {"__main__": "kesikaran.cli.__main__", "features.__main__": "kesikaran.cli.features"}
    main: Callable[[], object] = importlib.import_module(place.get(name, f"kesikaran.{name}")).main
    return main


def parsed_by_mlflow(words: list[str]) -> int:
    """0 where `mlflow WORDS` is a command and takes its options."""
    import click
    from mlflow.cli import cli

    context = click.Context(cli)
    try:
        while isinstance(context.command, click.Group):
            name, command, words = context.command.resolve_command(context, words)
            assert command
            group = isinstance(command, click.Group)
            context = command.make_context(name, [] if group else words, context, resilient_parsing=group)
    except click.UsageError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    return 0


class Read(Exception):
    """The words of a command have been read, and nothing else is to be done."""


class Performer:
    """Runs the commands of documents on the machine."""

    def __init__(self, machine: Machine, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine, self._run, self._patch = machine, run, monkeypatch

    def perform(self, text: str) -> Done:
        """Run a command, once on this machine."""
        if text not in self.machine.done:
            typed = PLACEHOLDERS.sub(lambda found: self.machine.ids[found[0]], text)
            level, self.machine.done[text] = self._perform(typed)
            self.machine.levels[level] += 1
        return self.machine.done[text]

    def _perform(self, text: str) -> tuple[str, Done]:
        if " | " in text:
            left, text = text.split(" | ")
            given = subprocess.run(["bash", "-c", left], capture_output=True, check=True).stdout
            assert given, f"{left} prints nothing"
            self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        program, *words = shlex.split(text)
        match program, words:
            case "source", [".venv/bin/activate"]:
                return "dry", Done(int("\nVENV := .venv\n" not in (REPOSITORY / "Makefile").read_text()), "", "")
            case "make", _:
                done = subprocess.run(["make", "-n", *words], cwd=REPOSITORY, capture_output=True, text=True)
                return "dry", Done(done.returncode, done.stdout, done.stderr)
            case "mlflow", ["artifacts", *_]:
                from mlflow.cli import cli

                return "run", self._run(lambda: cli(words), *words)
            case "mlflow", _:
                return "parsed", self._run(lambda: sys.exit(parsed_by_mlflow(words)))
            case "kesikaran", ["serve", *_]:
                return "parsed", self._parsed(words)
            case "kesikaran", _:
                return "run", self._run(main_of("kesikaran"), "kesikaran", *words)
            case "python", ["-m", module, *rest]:
                return "run", self._run(main_of(module), module, *rest)
            case "python", [script, *rest]:
                path = str(REPOSITORY / script)
                return "run", self._run(lambda: runpy.run_path(path, run_name="__main__"), path, *rest)
        return "unknown", Done(127, "", f"{program} is none of the programs that this test runs")

    def _parsed(self, words: list[str]) -> Done:
        """The command of kesikaran reads its words and goes no further."""
        from kesikaran.cli import door

        def read(parser: Any) -> Any:
            parser.parse_args()
            raise Read

        with self._patch.context() as patch:
            patch.setattr(door, "words", read)
            try:
                return self._run(main_of("kesikaran"), "kesikaran", *words)
            except Read:
                return Done(0, "", "")


@pytest.fixture
def performer(machine: Machine, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> Performer:
    return Performer(machine, run, monkeypatch)


def as_promised(text: str, done: Done) -> bool:
    """Whether a command ended as the documents say: a gate and a promotion that are not reached end with 3, and a store
    that was not moved needs no relocation."""
    if text.startswith("kesikaran store relocate"):
        return done.code == 1 and done.err.startswith("error: nothing is to be done: ")
    return done.code == 0 or (done.code == 3 and ("gate.min=" in text or "kesikaran promote" in text))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_runs(path: Path, performer: Performer) -> None:
    failed = []
    for command in commands(path):
        if command.skip:
            continue
        done = performer.perform(command.text)
        if not as_promised(command.text, done):
            failed.append(f"{path.name}:{command.line}  {command.text}\n  exit {done.code}: {done.err[-600:]}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("python -m kesikaran.train optimizer.learning_rate=1", "there is no setting optimizer.learning_rate"),
        ("python -m kesikaran.train head=hidden head.dropout=2", "head.dropout"),
        ("python -m kesikaran.tain", "there is no module"),
        ("kesikaran data splitt label.csv", "splitt"),
        ("kesikaran serve RUN --prot 1", "--prot"),
        ("kesikaran predict RUN nowhere/", "nowhere"),
        ("mlflow ui --prot 1", "--prot"),
        ("make trian", "trian"),
        ("rm -rf photos", "none of the programs"),
    ],
)
def test_a_wrong_command_is_seen(text: str, says: str, performer: Performer) -> None:
    try:
        done = performer.perform(text)
    except AssertionError as error:
        done = Done(1, "", str(error))
    assert not as_promised(text, done)
    assert says in done.err


def test_what_is_skipped_says_why() -> None:
    skipped = [command for path in DOCUMENTS for command in commands(path) if command.skip]
    assert {command.skip for command in skipped} == set(SKIPS), "each reason is known, and none is idle"
    assert not [command for path in READMES for command in commands(path) if command.skip], "the first page runs"


def test_every_block_of_code_is_of_a_known_kind() -> None:
    kinds = {(path.name, language) for path in DOCUMENTS for _, language, _, _ in blocks(path)}
    assert {language for _, language in kinds} <= {"sh", "console", "text", "python", ""}
    for path in DOCUMENTS:
        assert path.read_text().count("```") % 2 == 0
        outside = FENCE.sub("", path.read_text())
        assert not re.search(r"^\n    \S", outside, re.M), f"{path.name}: a command that is indented is not run"


def test_every_program_in_python_can_be_read() -> None:
    programs = [content for path in DOCUMENTS for _, kind, _, content in blocks(path) if kind == "python"]
    assert len(programs) > 1
    for program in programs:
        ast.parse(program)


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(path: Path) -> list[str]:
    """The relative links of a document that lead nowhere."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", path.read_text())):
        if re.match("https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert dead_links(path) == []


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# What it is: a *test*\n```sh\n# no heading\n```\n")
    links = ["there.md", "there.md#what-it-is-a-test", "#here", "https://example.org/x", "no.md", "there.md#no-heading"]
    page = tmp_path / "page.md"
    page.write_text("## Here\n" + " ".join(f"[x]({link})" for link in links))
    assert dead_links(page) == ["no.md", "there.md#no-heading"]


def test_each_document_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", READMES[0].read_text()))
    assert linked == {f"docs/{path.name}" for path in DOCUMENTS[2:]}


def test_the_first_pages_are_short_and_have_the_same_commands() -> None:
    for path in READMES:
        assert len(path.read_text().splitlines()) <= 150
    english, japanese = ([command.text for command in commands(path)] for path in READMES)
    assert english == japanese


def test_the_pictures_are_small() -> None:
    pictures = sorted((REPOSITORY / "docs").rglob("*.png"))
    assert {"sweep.png", "compare.png"} <= {picture.name for picture in pictures}
    assert all(picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size < 150_000 for picture in pictures)
