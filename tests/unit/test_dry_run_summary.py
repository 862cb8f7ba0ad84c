"""The sections of a dry run's summary, from runs, downloads and results that are there or not."""

import sys
from types import SimpleNamespace

import pytest

from execution.start.dry_run import downloads_section, end_dry_run, results_section, runs_section
from helpers.hub_server import fetch, serving
from helpers.retrieval import ARCHIVE, DRIVE_ID, GDRIVE, no_simulation, url_source
from terralucas.data.retrieval.retrieve import retrieve
from terralucas.errors import StudyError

RUNS = [("tiny", "ce", decoder, seed) for decoder in ("identity", "mlp") for seed in "012"]
HUB = {"source": "huggingface", "repo": "org/model", "filename": "model.pt", "revision": "main", "sha256": None}


def cells(lines):
    return [line.split() for line in lines]


def test_runs_are_counted_by_recipe_and_those_that_change_are_named():
    lines = runs_section(RUNS, planned={RUNS[0], RUNS[1]}, there={RUNS[1], RUNS[3]})
    assert lines[0] == (
        "Runs: 2 to do (1 finished, each kept if its settings, data and code prove unchanged), 1 finished, "
        "3 not asked for"
    )
    assert cells(lines[2:]) == [["tiny", "ce", "identity", "2", "0"], ["tiny", "ce", "mlp", "0", "1"]]


def test_no_table_where_no_run_is_planned_or_there():
    assert runs_section(RUNS, planned=set(), there=set()) == ["Runs: 0 to do, 0 finished, 6 not asked for"]


@pytest.mark.parametrize("kind", ["gdrive", "url"])
def test_chips_that_were_downloaded_are_not_announced_again(server, folder, kind):
    name = DRIVE_ID if kind == "gdrive" else "chips.tar.gz"
    server.serve(name, ARCHIVE)
    source = GDRIVE if kind == "gdrive" else url_source(server)
    (heading, line) = downloads_section([source], folder, {}, folder)
    assert heading == "Downloads:"
    assert line.endswith(f", to {folder}")
    retrieve([source], folder, simulate=no_simulation)
    (_, line) = downloads_section([source], folder, {}, folder)
    assert line.endswith(f": already in {folder}")


def test_a_second_source_is_only_used_if_the_first_fails(tmp_path):
    sources = [{"type": "archive", "path": "chips.tar.gz"}, {"type": "gdrive", "id": "abc"}]
    (_, line) = downloads_section(sources, tmp_path, {}, tmp_path)
    assert line == f"  chips  file abc of Google Drive, to {tmp_path}, if the sources before it fail"


def test_weights_that_were_downloaded_are_not_announced_again(tmp_path):
    cache = tmp_path / "huggingface"
    with serving(b"weights") as hub:
        (_, line) = downloads_section([], tmp_path, {"tiny": HUB}, cache)
        assert line == f"  weights of tiny  org/model/model.pt of the Hugging Face hub, to {cache}"
        fetch(hub.endpoint, tmp_path)
    (_, line) = downloads_section([], tmp_path, {"tiny": HUB}, cache)
    assert line.endswith(f": already in {cache}")


def test_what_is_simulated_random_or_on_this_machine_is_no_download(tmp_path):
    sources = [{"type": "simulated", "chips": 400, "size_px": 32, "seed": 1}]
    weights = {"tiny": {"source": "random", "seed": 1}, "base": {"source": "file", "path": "base.pt"}}
    assert downloads_section(sources, tmp_path, weights, tmp_path) == ["Downloads: none"]


def test_results_are_there_or_not_or_made_again(tmp_path):
    names = ("report.html", "a.csv", "b.csv", "c.csv")
    report, *tables = (str(tmp_path / name) for name in names)
    files = {"report": [report], "tables": tables}
    assert cells(results_section("results/s", files, [])[1:]) == [
        ["report", "not", "there"], ["tables", "0", "of", "3", "there"],
    ]  # fmt: skip
    for path in (report, *tables[:2]):
        (tmp_path / path).touch()
    assert cells(results_section("results/s", files, [])[1:]) == [
        ["report", "there"],
        ["tables", "2", "of", "3", "there"],
    ]
    lines = results_section("results/s", files, [report, tables[0], tables[2]])
    assert lines[0] == "Results in results/s:"
    assert [line.partition("  ")[2].strip() for line in (each.strip() for each in lines[1:])] == [
        "there, would be made again", "2 of 3 there, 1 would be made again",
    ]  # fmt: skip


class ExitedError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("is_refused", [True, False])
def test_a_start_that_would_be_refused_has_no_summary_and_status_1(monkeypatch, capsys, is_refused):
    def leave(status):
        raise ExitedError(status)

    def check():
        if is_refused:
            raise StudyError("No.", found="a reason", remedy="another start")

    monkeypatch.setattr("execution.start.refusals_of_start.os._exit", leave)
    workflow = SimpleNamespace(scheduler=object())
    if is_refused:
        with pytest.raises(ExitedError, match="1"):
            end_dry_run(workflow, check, lambda: sys.stdout.write("summary\n"))
    else:
        end_dry_run(workflow, check, lambda: sys.stdout.write("summary\n"))
    shown = capsys.readouterr()
    assert (shown.out, "a reason" in shown.err) == ("" if is_refused else "summary\n", is_refused)


def test_a_dry_run_that_an_error_ended_has_no_summary(capsys):
    def fail():
        raise AssertionError

    end_dry_run(SimpleNamespace(scheduler=None), fail, fail)
