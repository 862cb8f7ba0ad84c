"""What makes a finished study read its chips or weights again, by dry runs: files, places, names, times."""

import hashlib
import json
import os
import shutil
import tarfile

import pytest
import rasterio
import torch

from helpers.tiny_study import TINY
from terralucas.backbones.terratorch_parts import terramind_registry
from terralucas.data.index_file import read_index
from terralucas.data.simulation.simulate import write_archive

pytestmark = pytest.mark.workflow

CHIPS = {"retrieve_chips", "index_chips", "split_chips"}


@pytest.fixture(scope="module")
def folder_study(project, tmp_path_factory):
    """A study on a folder of chips, up to its splits: a function that plans it, the folder, one that makes a file."""
    temporary = tmp_path_factory.mktemp("source")
    write_archive(temporary / "chips.tar.gz", chips=400, size_px=32, seed=1)
    chips = temporary / "{x} chips"
    with tarfile.open(temporary / "chips.tar.gz") as archive:
        archive.extractall(chips, filter="data")
    source = {"type": "directory", "path": str(chips)}
    config = project.write_config(
        TINY | {"study": "folder", "dataset": TINY["dataset"] | {"sources": [source]}}, "folder"
    )
    target = "results/folder/splits/seed-0.csv"

    def plan():
        return set(project.planned("--configfile", config, "--", target))

    def make(path):
        project.snakemake("--cores", 1, "--configfile", config, "--", path)

    make(target)
    return plan, chips, make


def test_times_of_chips_files_nobody_reads_and_a_folder_that_is_away_rerun_nothing(folder_study):
    plan, chips, _ = folder_study
    for path in chips.rglob("*"):
        path.touch()
    for name in (".DS_Store", "notes.txt"):
        (chips / name).write_text("nobody reads this")
    assert plan() == set()
    away = chips.rename(chips.with_name("away"))
    try:
        assert plan() == set()
    finally:
        away.rename(chips)


@pytest.fixture(scope="module")
def planned_with(project, folder_study):
    """A function that plans the study on a folder with changed keys of its dataset."""
    _, chips, _ = folder_study

    def plan(path=chips, **changes):
        source = {"type": "directory", "path": str(path)}
        dataset = TINY["dataset"] | {"sources": [source]} | changes
        config = project.write_config(TINY | {"study": "folder", "dataset": dataset}, "changed")
        return set(project.planned("--configfile", config, "--", SPLITS))

    return plan


SPLITS = "results/folder/splits/seed-0.csv"


def dry_run_of(project, plan, config, target):
    """The output of a dry run that fails; `plan` writes its configuration."""
    with pytest.raises(AssertionError):
        plan()
    done = project.snakemake("-n", "--configfile", config, "--", target, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.output
    return done.output


def test_the_same_chips_at_another_path_rerun_nothing(project, folder_study, planned_with):
    plan, chips, _ = folder_study
    assert planned_with(f"{chips}/") == set()
    link = chips.with_name("link")
    link.symlink_to(chips)
    assert planned_with(link) == set()
    moved = chips.rename(chips.with_name("moved"))
    try:
        assert planned_with(moved) == set()
        # What is made now reads the chips where they are.
        config = ("--configfile", "config/changed.yaml", "--", "results/folder/data/packed.npy")
        assert set(project.planned(*config)) == {"pack_chips"}
        project.snakemake("--cores", 1, *config)
        first = next(moved.rglob("*.tif"))
        content = first.read_bytes()
        first.unlink()
        assert planned_with(moved) == CHIPS
        first.write_bytes(content)
        assert planned_with(moved) == set()
        refused = dry_run_of(project, lambda: planned_with(chips), "config/changed.yaml", SPLITS)
        assert "expected: a folder that contains files" in refused, "the job would only delete what is there"
    finally:
        moved.rename(chips)
    assert plan() == set()


def test_the_same_weights_at_another_path_or_with_their_checksum_rerun_nothing(project, folder_study, tmp_path):
    _, chips, _ = folder_study
    target = "results/folder/weights/tiny.json"
    file = tmp_path / "{x} weights.pt"

    def plan(path, **weights):
        backbones = {"tiny": TINY["backbones"]["tiny"] | {"weights": {"source": "file", "path": str(path)} | weights}}
        sources = [{"type": "directory", "path": str(chips)}]
        dataset = TINY["dataset"] | {"sources": sources}
        config = project.write_config(TINY | {"study": "folder", "dataset": dataset, "backbones": backbones}, "weights")
        return set(project.planned("--configfile", config, "--", target))

    encoder = terramind_registry().build("terramind_v1_tiny", modalities=["S2L2A"], pretrained=False)
    torch.save(encoder.state_dict(), file)
    assert plan(file) == {"fetch_weights"}
    project.snakemake("--cores", 1, "--configfile", "config/weights.yaml", "--", target)
    record = json.loads((project.folder / target).read_text(encoding="utf-8"))
    assert plan(file, sha256=record["sha256"].upper()) == set()
    of = ("config/weights.yaml", target)
    assert "their checksum differs" in dry_run_of(project, lambda: plan(file, sha256="0" * 64), *of)
    moved = file.rename(tmp_path / "moved.pt")
    assert plan(moved) == set()
    assert (project.folder / record["path"]).samefile(moved)
    assert "what to do" in dry_run_of(project, lambda: plan(file), *of), "nothing is at this path"
    torch.save({"other": torch.ones(2)}, moved)
    assert plan(moved) == {"fetch_weights"}


def test_what_becomes_of_invalid_chips_and_their_size_rerun_nothing_where_there_are_none(planned_with):
    assert planned_with(on_invalid="drop") == set()
    assert planned_with(chip_size_px=TINY["dataset"]["sources"][0]["size_px"]) == set()
    assert "index_chips" in planned_with(chip_size_px=16)
    assert "index_chips" in planned_with(nodata=-1)


def test_another_name_of_the_dataset_reruns_no_index(planned_with):
    assert planned_with(name="Other chips") == set()


def test_a_mistake_that_the_index_refuses_reruns_nothing_when_it_is_undone(project, folder_study, planned_with):
    """Snakemake would delete the index before the check, and record the mistake as what it was made with."""
    plan, _, _ = folder_study
    classes = [*TINY["dataset"]["classes"], {"code": "none", "name": "No chips"}]
    assert "index_chips" in planned_with(classes=classes)
    done = project.snakemake("--cores", 1, "--configfile", "config/changed.yaml", "--", SPLITS, check=False)
    assert "too few chips of 1 class(es)" in done.output
    assert plan() == set()
    assert "index_chips" in planned_with(classes=classes), "the mistake is refused each time"


def test_another_content_of_a_chip_reruns_all_that_depends_on_it(folder_study):
    plan, chips, make = folder_study
    first = next(chips.rglob("*.tif"))
    with rasterio.open(first, "r+") as file:
        file.write(file.read() * 0.99)
    os.utime(first, (1, 1))
    assert plan() == CHIPS, "though the file is older than before"
    # Stopped after the index, before what depends on it.
    make("results/folder/data/chips.parquet")
    assert plan() == {"split_chips"}


def test_chips_that_come_back_to_the_first_place_with_other_content_are_read_there(project, folder_study, tmp_path):
    """The record said where the folder had been moved, and the index was made of the chips there."""
    _, chips, _ = folder_study
    first, moved = tmp_path / "first", tmp_path / "moved"
    shutil.copytree(chips, first)
    target = "results/returned/data/chips.parquet"

    def index(*places):
        sources = [{"type": "directory" if path.is_dir() else "archive", "path": str(path)} for path in places]
        study = TINY | {"study": "returned", "dataset": TINY["dataset"] | {"sources": sources}}
        config = project.write_config(study, "returned")
        shown = project.snakemake("--cores", 1, "--configfile", config, "--", target).output
        return shown, read_index(project.folder / target).set_index("file")["sha256"]

    index(first)
    shutil.copytree(first, moved)
    assert "Nothing to be done" in index(moved)[0]
    chip = next(first.rglob("*.tif"))
    with rasterio.open(chip, "r+") as file:
        file.write(file.read() * 1.01)
    _, sha256 = index(first)
    name = next(each for each in sha256.index if each.endswith(chip.name))
    assert sha256[name] == hashlib.sha256(chip.read_bytes()).hexdigest()
    shutil.rmtree(moved)
    assert "Nothing to be done" in index(first)[0]
    # A source that cannot be used is tried once, also where the folder was moved before.
    first.rename(moved)
    assert "Nothing to be done" in index(moved)[0]
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_text("half an archive")
    index(damaged, moved)
    assert "Nothing to be done" in index(damaged, moved)[0]
