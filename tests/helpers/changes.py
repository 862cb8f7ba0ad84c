"""Random changes of a study: after each, its tables must be, byte for byte, those of a study from nothing.

    make changes                                       # 40 histories of 4 changes
    make changes OPTIONS="--histories 3 --seed 7"      # or others

A history is a study that is changed several times and started again after each change: its configuration, its chips,
its results (deleted, copied, restored from an earlier state), or a start that is interrupted or told to do otherwise.
Where a start is refused, what the message advises is done. All draws come from the seed. With `--uses`, models are
selected and new chips predicted after each change, and the predictions are compared, too.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.warp import transform

from helpers.project import Project, results
from helpers.tiny_study import TINY
from terralucas.data.simulation.example_chips import CLASSES, write_example
from terralucas.files import sha256_of_json

# Figures and the page are made of the tables, and take a quarter of the time.
WITHOUT_PAGE = ("--cores", 1, "--omit-from", "draw_figures", "make_gallery")
STUDY = TINY | {
    "dataset": {
        "name": "changed",
        "layout": {
            "labels": "table", "table": "labels.csv", "id_column": "file", "file_column": "file",
            "label_column": "class", "x_column": "lon", "y_column": "lat",
        },
        "point_ids": "none",
        "unit": "dn",
        "classes": [{"code": name, "name": name} for name in CLASSES.values()],
        "bands": TINY["dataset"]["bands"],
        "pixel_size_m": 30,
    },
    "report": {"controls": False},
}  # fmt: skip
# Results without times of this machine.
COMPARED = (
    *("tables/*.csv", "selected/conformal.csv", "selected/models/*/model.ckpt"),
    "predictions/*/predictions.parquet",
)
# A start that is refused names what to do; so many times it is done.
MOST_STARTS = 8
# An error about a file of the study, and its advice two or three lines below.
DELETE_THIS = re.compile(
    r"^ERROR: .*?(results/[\w/.-]*\w).*\n(?:  .*\n){0,2}?  what to do: delete (?:the file|the folder|it)\b", re.M
)


def decides(path: Path) -> bool:
    """Return whether a result may decide others: not logs and records of time."""
    return not {"logs", "benchmarks"} & set(path.parts)


class ChangesError(Exception):
    """What a study must not do: other numbers, a traceback, or a refusal without a way out."""


class History:
    """A study in a project of its own, its chips, and its earlier states.

    Args:
        folder: where all of it goes.
        draw: every random choice.
        has_uses: whether models are selected and new chips predicted.
    """

    def __init__(self, folder: Path, draw: random.Random, has_uses: bool = False) -> None:
        self.draw, self.folder, self.has_uses = draw, folder, has_uses
        self.chips = folder / "chips"
        write_example(self.chips)
        table = self.table
        # Of classes of one size, weights would have no effect, which the audit refuses.
        self.write_table(table.drop(index=table.index[table["class"] == "artificial"][:12]))
        for file in set(table["file"]) - set(self.table["file"]):
            (self.chips / "labelled" / file).unlink()
        self.new = sorted((self.chips / "new").glob("*.tif"))
        self.config = copy.deepcopy(STUDY)
        self.config["dataset"]["sources"] = [{"type": "directory", "path": str(self.chips / "labelled")}]
        self.project = Project(folder / "project")
        self.earlier: list[Path] = []
        self.configs: list[dict] = []
        self.options: tuple[object, ...] = ()

    @property
    def results(self) -> Path:
        """Folder of the study."""
        return results(self.project, self.config["study"])

    def write_config(self) -> str:
        """Write the configuration, and return its path."""
        return self.project.write_config(self.config, self.config["study"])

    @property
    def table(self) -> pd.DataFrame:
        """The labels table."""
        return pd.read_csv(self.chips / "labelled" / "labels.csv")

    def write_table(self, table: pd.DataFrame) -> None:
        """Replace the labels table."""
        table.to_csv(self.chips / "labelled" / "labels.csv", index=False)

    def any_result(self) -> Path | None:
        """A random file of the results, if there is one."""
        files = [path for path in sorted(self.results.rglob("*")) if path.is_file() and decides(path)]
        return self.draw.choice(files) if files else None

    @property
    def goals(self) -> list[tuple[object, ...]]:
        """Targets of the starts that finish a study, each with what is set for it."""
        new = ("--config", f"predict={{input: {self.chips / 'new'}}}", "--", "select", "predict")
        return [(), new] if self.has_uses else [()]

    def start(self, *options: object, goal: tuple[object, ...] = ()) -> subprocess.CompletedProcess:
        """Start the study as it is configured now."""
        config = self.write_config()
        return self.project.snakemake(*WITHOUT_PAGE, "--configfile", config, *options, *goal, check=False)

    def finish(self) -> list[str]:
        """Start the study until it ends well; return what was advised and done.

        Raises:
            ChangesError: a traceback, or a refusal that names nothing that helps.
        """
        options, self.options = self.options, ()
        advised = self._reach((), options)
        for goal in self.goals[1:]:
            advised += self._reach(goal)
        return advised

    def _reach(self, goal: tuple[object, ...], options: tuple[object, ...] = ()) -> list[str]:
        advised: list[str] = []
        for _ in range(MOST_STARTS):
            done = self.start(*options, goal=goal)
            options = ()
            if "Traceback" in done.output:
                raise ChangesError(f"a traceback: {done.output[-3000:]}")
            if done.returncode == 0:
                return advised
            if "--unlock" in done.output:
                advised.append("--unlock")
                self.start("--unlock")
            elif found := re.search(r"the option (--forcerun .*?) \(at the end", done.output):
                advised.append(found[1])
                options = tuple(found[1].split())
            elif "delete the folders of these runs" in done.output:
                runs = re.findall(r"results/[\w.-]+/runs/[\w/.-]+", done.output)
                advised.append(f"delete {len(set(runs))} runs")
                for run in set(runs):
                    shutil.rmtree(self.project.folder / run)
            elif paths := {path for path in DELETE_THIS.findall(done.output) if (self.project.folder / path).exists()}:
                advised.append(f"delete {', '.join(sorted(paths))}")
                for path in (self.project.folder / each for each in paths):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            else:
                raise ChangesError(f"refused: {done.output[-3000:]}")
        raise ChangesError(f"refused again and again: {advised}: {done.output[-3000:]}")

    def keep(self) -> None:
        """Keep the results as a state to restore from later."""
        self.earlier.append(self.folder / f"earlier-{len(self.earlier)}")
        shutil.copytree(self.results, self.earlier[-1])
        self.configs.append(copy.deepcopy(self.config))

    def compare(self) -> None:
        """Compare tables, models and predictions with those of a study from nothing.

        Raises:
            ChangesError: some differ.
        """
        files = sorted(path for path in (self.chips / "labelled").iterdir())
        new = [[path.name, path.read_bytes().hex()] for path in sorted((self.chips / "new").iterdir())]
        config = self.config | {"study": TINY["study"]}
        key = sha256_of_json([config, new, [(path.name, path.read_bytes().hex()) for path in files]])
        nothing = self.folder / "nothing" / key
        if not nothing.is_dir():
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                project = Project(Path(folder))
                path = project.write_config(config)
                for goal in self.goals:
                    project.snakemake(*WITHOUT_PAGE, "--configfile", path, *goal)
                shutil.copytree(results(project), nothing)
        found, expected = (
            {str(path.relative_to(root)): path.read_bytes() for kind in COMPARED for path in root.glob(kind)}
            for root in (self.results, nothing)
        )
        if other := sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name)):
            raise ChangesError(f"other files than from nothing: {', '.join(other)}")

    def interrupt(self, number: int) -> float:
        """Send a signal to a start at a random moment; return after how many seconds."""
        after, config = self.draw.uniform(1, 25), self.write_config()
        process = subprocess.Popen(
            self.project.command(*WITHOUT_PAGE, "--configfile", config),
            cwd=self.project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.wait()
        # Jobs save what they have.
        time.sleep(3)
        return round(after, 1)


def choose(*keys, values):
    """A change of a setting to one of some values."""

    def change(history):
        section = history.config
        for key in keys[:-1]:
            section = section[key]
        section[keys[-1]] = history.draw.choice([each for each in values if each != section.get(keys[-1])])
        return f"{'.'.join(keys)}: {section[keys[-1]]}"

    return change


def turn_classes(history):
    """The order of the classes."""
    history.config["dataset"]["classes"].reverse()
    return "classes in reverse order"


def rename_class(history):
    """The name that a class is shown by."""
    entry = history.draw.choice(history.config["dataset"]["classes"])
    entry["name"] = f"{entry['code']} {history.draw.randrange(100)}"
    return f"class {entry['code']} is named {entry['name']}"


def change_chip(history):
    """The pixels of a chip."""
    name = history.draw.choice(list(history.table["file"]))
    path = history.chips / "labelled" / name
    with rasterio.open(path, "r+") as file:
        values = file.read()
        noise = np.random.default_rng(history.draw.randrange(2**32)).integers(-20, 21, values.shape)
        file.write(np.clip(values + noise, 1, None).astype(values.dtype))
    return f"other pixels of {name}"


def remove_chip(history):
    """A chip that is gone, with its row."""
    table = history.table
    row = history.draw.randrange(len(table))
    name = table["file"][row]
    (history.chips / "labelled" / name).unlink()
    history.write_table(table.drop(index=row))
    return f"without {name}"


def add_chip(history):
    """One more chip."""
    if len(history.new) < 2:
        return "no chip is left to add"
    path = history.new.pop()
    table = history.table
    shutil.copy(path, history.chips / "labelled" / path.name)
    row = table.iloc[[0]].assign(file=path.name, **{"class": history.draw.choice(list(CLASSES.values()))})
    with rasterio.open(path) as file:
        (lon,), (lat,) = transform(file.crs, "EPSG:4326", *([each] for each in file.xy(16, 16)))
    history.write_table(pd.concat([table, row.assign(lon=round(lon, 6), lat=round(lat, 6))]))
    return f"with {path.name}"


def change_label(history):
    """The label of a chip."""
    table = history.table
    row = history.draw.randrange(len(table))
    table.loc[row, "class"] = history.draw.choice([name for name in CLASSES.values() if name != table["class"][row]])
    history.write_table(table)
    return f"{table['file'][row]} is {table['class'][row]}"


def change_times(history):
    """Times of all files."""
    for root in (history.chips, history.results):
        for path in sorted(root.rglob("*")):
            moment = time.time() - history.draw.uniform(0, 1e6)
            os.utime(path, (moment, moment))
    return "other times of chips and results"


def delete_file(history):
    """A result that is gone."""
    path = history.any_result()
    if path is None:
        return "nothing to delete"
    path.unlink()
    return f"deleted {path.relative_to(history.results)}"


def delete_folder(history):
    """A folder of results that is gone."""
    folders = [path for path in sorted(history.results.rglob("*")) if path.is_dir()]
    if not folders:
        return "nothing to delete"
    path = history.draw.choice(folders)
    shutil.rmtree(path)
    return f"deleted {path.relative_to(history.results)}/"


def copy_without_times(history):
    """Results that were copied to another disk and back."""
    elsewhere = history.folder / "elsewhere"
    shutil.copytree(history.results, elsewhere, copy_function=shutil.copyfile)
    shutil.rmtree(history.results)
    shutil.move(elsewhere, history.results)
    return "copied without times"


def delete_records(history):
    """Snakemake's records."""
    shutil.rmtree(history.project.folder / ".snakemake" / "metadata", ignore_errors=True)
    return "without Snakemake's records"


def delete_hidden(history):
    """The whole of what Snakemake keeps."""
    shutil.rmtree(history.project.folder / ".snakemake", ignore_errors=True)
    return "without .snakemake"


def restore(history):
    """A file or folder of an earlier state, with its times or without."""
    earlier = history.draw.choice(history.earlier)
    is_folder, with_times = history.draw.random() < 0.5, history.draw.random() < 0.5
    paths = [path for path in sorted(earlier.rglob("*")) if path.is_dir() == is_folder and decides(path)]
    path = history.draw.choice(paths)
    target = history.results / path.relative_to(earlier)
    if is_folder:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(path, target, copy_function=shutil.copy2 if with_times else shutil.copyfile)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        (shutil.copy2 if with_times else shutil.copyfile)(path, target)
    return f"restored {path.relative_to(earlier)} of {earlier.name}, {'with' if with_times else 'without'} times"


def restore_all(history):
    """The whole of an earlier state, as from a backup, with its times or without."""
    earlier, with_times = history.draw.choice(history.earlier), history.draw.random() < 0.5
    shutil.rmtree(history.results)
    shutil.copytree(earlier, history.results, copy_function=shutil.copy2 if with_times else shutil.copyfile)
    return f"restored all of {earlier.name}, {'with' if with_times else 'without'} times"


def revert(history):
    """The configuration of an earlier start."""
    number = history.draw.randrange(len(history.configs))
    history.config = copy.deepcopy(history.configs[number]) | {"study": history.config["study"]}
    return f"configuration of start {number}"


def rename(history):
    """Another name of the study, to which its results are moved or copied."""
    before, is_moved = history.results, history.draw.random() < 0.5
    history.config["study"] = f"named-{history.draw.randrange(10**6)}"
    (shutil.move if is_moved else shutil.copytree)(before, history.results)
    return f"{'moved' if is_moved else 'copied'} to {history.results.name}"


def change_new_chip(history):
    """The pixels of a chip to predict, with the time that the chip had."""
    first, *others = sorted((history.chips / "new").glob("*.tif"))
    (shutil.copy2 if history.draw.random() < 0.5 else shutil.copyfile)(history.draw.choice(others), first)
    return f"other pixels of {first.name} to predict"


def swap(history):
    """Two files, or folders, of one name and of two seeds or settings, that change places."""
    by_name = {}
    for path in sorted(history.results.rglob("*")):
        if decides(path):
            name = re.sub(r"\d+", "0", path.name) if path.is_dir() else path.name
            by_name.setdefault((path.is_dir(), len(path.parts), name), []).append(path)
    alike = [paths for paths in by_name.values() if len(paths) > 1]
    if not alike:
        return "nothing to swap"
    one, other = history.draw.sample(history.draw.choice(alike), 2)
    between = history.folder / "between"
    for source, target in ((one, between), (other, one), (between, other)):
        shutil.move(source, target)
    return f"swapped {one.relative_to(history.results)} and {other.relative_to(history.results)}"


def kill(history):
    """SIGKILL of all processes of a start."""
    return f"SIGKILL after {history.interrupt(signal.SIGKILL)} s"


def stop(history):
    """Ctrl-C."""
    return f"SIGINT after {history.interrupt(signal.SIGINT)} s"


RULES = (
    "retrieve_chips",
    "index_chips",
    "fetch_weights",
    "split_chips",
    "extract_features",
    "train_run",
    "make_tables",
)


def until(history):
    """A start that ends early."""
    rule = history.draw.choice(RULES)
    history.start("--until", rule)
    return f"--until {rule}"


def forcerun(history):
    """A step that is made again with all that follows."""
    history.options = ("--forcerun", history.draw.choice(RULES))
    return " ".join(history.options)


def force(history):
    """A step that is made again alone."""
    path = history.any_result()
    if path is None:
        return "nothing to make again"
    target = path.relative_to(history.project.folder)
    history.start("--force", "--", target)
    return f"--force -- {target}"


def touch(history):
    """All files count as made now."""
    history.start("--touch")
    return "--touch"


CHANGES = {
    "seeds": choose("grid", "seeds", values=[[0, 1], [0, 1, 2], [1], [2, 0]]),
    "losses": choose("grid", "losses", values=[["weighted_ce"], ["weighted_focal"], ["weighted_focal", "weighted_ce"]]),
    "decoders": choose("grid", "decoders", values=[["identity"], ["mlp"], ["identity", "mlp"]]),
    "epochs": choose("training", "epochs", values=[2, 3, 4]),
    "rate": choose("training", "learning_rate", values=[0.001, 0.01]),
    "normalisation": choose("normalisation", values=["dataset", "train", "pretraining"]),
    "folds": choose("split", "folds", values=[2, 3]),
    "weights": choose("backbones", "tiny", "weights", "seed", values=[0, 1]),
    "gamma": choose("losses", "weighted_focal", "gamma", values=[1.0, 2.0, 3.0]),
    "controls": choose("report", "controls", values=[True, False]),
    "shards": choose("features", values=[{"shards": 1}, {"shards": 2}]),
    "class_order": turn_classes,
    "class_name": rename_class,
    "pixels": change_chip,
    "fewer_chips": remove_chip,
    "more_chips": add_chip,
    "label": change_label,
    "times": change_times,
    "delete_file": delete_file,
    "delete_folder": delete_folder,
    "copy": copy_without_times,
    "records": delete_records,
    "hidden": delete_hidden,
    "restore": restore,
    "restore_all": restore_all,
    "revert": revert,
    "rename": rename,
    "new_pixels": change_new_chip,
    "swap": swap,
    "kill": kill,
    "stop": stop,
    "until": until,
    "forcerun": forcerun,
    "force": force,
    "touch": touch,
}


def run(number: int, arguments: argparse.Namespace) -> str:
    """Make one history; return its row, with what went wrong below it."""
    draw = random.Random(f"{arguments.seed}-{number}")
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="changes-") as folder:
        history = History(Path(folder), draw, arguments.uses)
        try:
            history.finish()
            history.keep()
            for _ in range(arguments.changes):
                # Several changes may come between two starts.
                for _ in range(draw.choice([1, 1, 2, 3])):
                    said.append(CHANGES[draw.choice(arguments.only)](history))
                advised = history.finish()
                said.append(f"→ {', '.join(advised) or 'ended'}")
                history.compare()
                history.keep()
        except Exception as error:
            words = str(error) if isinstance(error, (ChangesError, AssertionError)) else traceback.format_exc()
            if arguments.keep:
                shutil.copytree(folder, Path(arguments.keep) / str(number), symlinks=True)
            return f"| {number} | {'; '.join(said)} | NO |\n\n{words}\n"
    return f"| {number} | {'; '.join(said)} | yes |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=40)
    parser.add_argument("--changes", type=int, default=4, help="starts of each history after its first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES))
    parser.add_argument("--uses", action="store_true", help="select models and predict new chips after each change")
    parser.add_argument("--workers", type=int, default=2, help="histories at a time")
    parser.add_argument("--keep", help="folder for the histories that failed")
    arguments = parser.parse_args()

    def say(line: str) -> None:
        print(line, flush=True)  # noqa: T201

    failed = 0
    say("| # | changes, and what each start advised | as from nothing |\n|---|---|---|")
    with ThreadPoolExecutor(arguments.workers) as pool:
        for row in pool.map(lambda number: run(number, arguments), range(arguments.histories)):
            failed += "| NO |" in row
            say(row)
    say(f"\n{arguments.histories - failed} of {arguments.histories} histories ended as from nothing.")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
