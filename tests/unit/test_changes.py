"""The random changes of a study (`make changes`): they notice other numbers, and do what messages advise."""

import random
import shutil
from types import SimpleNamespace

import pytest

from helpers import changes
from helpers.changes import CHANGES, ChangesError, History
from terralucas.data.simulation.example_chips import write_example


class FakeProject:
    """A project whose starts give the answers that a test has put into `answers`, or write one table."""

    answers = ()
    starts = []
    table = "as from nothing"

    def __init__(self, folder):
        self.folder = folder

    def write_config(self, config, name="small"):
        return "config/small.yaml"

    def snakemake(self, *arguments, check=True):
        self.starts.append(arguments)
        if self.answers:
            type(self).answers, (code, output) = self.answers[1:], self.answers[0]
            return SimpleNamespace(returncode=code, output=output)
        tables = self.folder / "results" / "small" / "tables"
        tables.mkdir(parents=True, exist_ok=True)
        (tables / "summary.csv").write_text(self.table)
        return SimpleNamespace(returncode=0, output="")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example") / "chips"
    write_example(folder)
    return folder


@pytest.fixture
def history(tmp_path, monkeypatch, example):
    monkeypatch.setattr(changes, "write_example", lambda folder: shutil.copytree(example, folder))
    monkeypatch.setattr(changes, "Project", FakeProject)
    monkeypatch.setattr(FakeProject, "starts", [])
    monkeypatch.setattr(FakeProject, "answers", ())
    return History(tmp_path, random.Random(0))


def test_other_tables_than_from_nothing_are_noticed(history, monkeypatch):
    assert history.finish() == []
    history.compare()
    (history.results / "tables" / "summary.csv").write_text("of before")
    with pytest.raises(ChangesError, match=r"other files than from nothing: tables/summary\.csv"):
        history.compare()
    (history.results / "tables" / "summary.csv").unlink()
    with pytest.raises(ChangesError, match=r"summary\.csv"):
        history.compare()


def test_what_a_refusal_advises_is_done(history, monkeypatch):
    run = history.results / "runs" / "tiny" / "seed-0"
    run.mkdir(parents=True)
    refusals = (
        (1, "start snakemake --unlock"),
        (1, "start once with the option --forcerun index_chips train_run (at the end of the command"),
        (1, "found: results/small/runs/tiny/seed-0 what to do: delete the folders of these runs and start"),
    )
    split = history.results / "splits" / "seed-0.csv"
    split.parent.mkdir()
    split.touch()
    lines = ("ERROR: The split results/small/splits/seed-0.csv belongs to other chips.", "found: 1", "expected: 2")
    advice = "what to do: delete the file and start the study again"
    refusals = (*refusals, (1, "\n  ".join([*lines, advice])))
    monkeypatch.setattr(FakeProject, "answers", (refusals[0], (0, "unlocked"), *refusals[1:]))
    assert history.finish() == [
        "--unlock", "--forcerun index_chips train_run", "delete 1 runs", "delete results/small/splits/seed-0.csv",
    ]  # fmt: skip
    assert not run.exists()
    assert not split.exists()
    assert history.project.starts[3][-3:] == ("--forcerun", "index_chips", "train_run")


@pytest.mark.parametrize(("output", "found"), [("Traceback (most recent call last)", "a traceback"), ("no", "refused")])
def test_a_refusal_without_a_way_out_is_none_that_counts(history, monkeypatch, output, found):
    monkeypatch.setattr(FakeProject, "answers", ((1, output),))
    with pytest.raises(ChangesError, match=found):
        history.finish()


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"kill", "stop", "until", "force", "touch", "forcerun"}))
def test_each_change_changes_something(history, name):
    """Chips, configuration, results or Snakemake's records."""
    for seed in (0, 1):
        run = history.results / "runs" / f"seed-{seed}"
        run.mkdir(parents=True)
        (run / "metrics.json").write_text(str(seed))
    (history.project.folder / ".snakemake" / "metadata").mkdir(parents=True)
    history.keep()
    (history.results / "runs" / "seed-0" / "metrics.json").write_text("other")
    history.config["training"]["epochs"] = 7

    def state():
        files = [path for path in sorted(history.folder.rglob("*")) if "earlier-0" not in path.parts]
        stats = [path.stat() for path in files]
        return str(history.config), [
            (str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino) for path, stat in zip(files, stats, strict=True)
        ]

    before = state()
    assert CHANGES[name](history)
    assert state() != before
