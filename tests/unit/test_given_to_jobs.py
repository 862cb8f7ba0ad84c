"""What is remembered of what jobs were given, also in a study that has got another name."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from execution.records.file_checksums import FileChecksums
from execution.records.given_to_jobs import NAME, agree, find_entry_of_outputs, find_names, make_entry, read_entries
from terralucas.errors import StudyError

OWN, OTHER = Path("results/new"), Path("results/new-1")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for results in (OWN, OTHER):
        (results / "data").mkdir(parents=True)


def remember(results, entries):
    (results / NAME).write_text(json.dumps(entries))


@pytest.mark.parametrize("text", ['{"results/new/tables/runs.csv": {"par', "[]", "null"])
def test_a_record_that_is_damaged_or_closed_to_this_user_does_not_count_as_none(monkeypatch, text):
    (OWN / NAME).write_text(text)
    with pytest.raises(StudyError, match=rf"is damaged\.\n  found: {OWN / NAME}, which is no JSON"):
        read_entries(OWN)

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StudyError, match=rf"{OWN / NAME} cannot be"):
        read_entries(OWN)


def test_entries_of_earlier_versions_count_as_none():
    earlier = {"text": "abc", "state": {"by": {"params": "5"}, "state": [1, 2], "before": None}}
    earlier["texts"] = {"by": "abc", "states": [[1, 2]], "before": None}
    known = {"own": {"params": "5"}, "planned": {"by": {"params": "5"}, "states": [None], "before": {"params": "4"}}}
    remember(OWN, {f"{OWN}/{name}": entry for name, entry in (earlier | known).items()})
    assert read_entries(OWN) == {f"{OWN}/{name}": entry for name, entry in known.items()}


@pytest.mark.parametrize(("own", "other"), [(OWN, OTHER), (OTHER, OWN)])
def test_an_entry_of_another_name_is_compared_by_the_names_it_has(own, other):
    """As after `mv` or `cp -a` of the folder of results, and another `study:`. One name begins as the other."""

    def given(results, seed=0, names=str):
        # The last one is of others, whose names begin or end so.
        texts = [f"'{results}/controls'", f"{{'seed': {seed}, 'study': '{results}'}}", f"old_{OWN} {OWN}-x {OTHER}-x"]
        return make_entry(texts, [f"{results}/data/chips.parquet", "elsewhere/results"], names)

    remember(own, {f"{other}/tables/runs.csv": given(other)})
    (entry,) = read_entries(own).values()
    assert list(read_entries(own)) == [f"{own}/tables/runs.csv"]
    names = find_names(entry, own)
    assert agree(entry, given(own, names=names))
    assert not agree(entry, given(own, seed=1, names=names))
    assert not agree(entry, given(own))
    # What this study has remembered itself counts more.
    remember(own, {f"{other}/tables/runs.csv": given(other), f"{own}/tables/runs.csv": given(own, seed=1)})
    (entry,) = read_entries(own).values()
    assert agree(entry, given(own, seed=1, names=find_names(entry, own)))


def test_contents_are_compared_by_the_names_they_had():
    def write(results, content="1"):
        (results / "splits").mkdir(exist_ok=True)
        (results / "splits" / "seed-0.csv").write_text(content)
        (results / "runs.csv").write_text(content)
        return SimpleNamespace(
            rule=SimpleNamespace(name="make_tables"),
            input=[f"{results}/splits/seed-0.csv"],
            output=[f"{results}/runs.csv"],
        )

    before = FileChecksums(OTHER).of_job(write(OTHER))
    assert set(before) == {f"{OTHER}/splits/seed-0.csv", f"{OTHER}/runs.csv"}
    names = find_names({"of": str(OTHER)}, OWN)
    assert FileChecksums(OWN).changed(before, write(OWN), names) == []
    changed = FileChecksums(OWN).changed(before, write(OWN, "2"), names)
    assert changed == [f"{OWN}/splits/seed-0.csv", f"{OWN}/runs.csv"]


def test_what_a_killed_start_remembered_under_another_name_says_so_too():
    job = SimpleNamespace(output=[f"{OWN}/runs.csv"], rule=SimpleNamespace(name="make_tables"))
    entry = {"by": {"params": "5"}, "states": [None], "before": {"params": "4"}}
    remember(OWN, {f"{OTHER}/runs.csv": entry})
    known = read_entries(OWN)
    assert find_entry_of_outputs(known[f"{OWN}/runs.csv"], job, FileChecksums(OWN)) == {"params": "4", "of": str(OTHER)}
    (OWN / "runs.csv").touch()
    assert find_entry_of_outputs(known[f"{OWN}/runs.csv"], job, FileChecksums(OWN)) == {"params": "5", "of": str(OTHER)}
