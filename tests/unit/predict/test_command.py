"""Arguments of the commands that predict and map, and what they leave in the folder of results."""

import threading

import pytest

from terralucas.data.rewrite.__main__ import main as rewrite
from terralucas.errors import StudyError
from terralucas.mapping.__main__ import main as map_scene
from terralucas.mapping.strip_files import remove_strips
from terralucas.predict.__main__ import main as predict
from terralucas.predict.command import results_in
from terralucas.predict.outputs import remove_parts

GIVEN = ["--study", "results/x", "--output", "out"]


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        (predict, ["", *GIVEN], "the path is empty"),
        (predict, [" ", *GIVEN], "the path is empty"),
        (predict, ["in", "--study", "", "--output", "out"], "the path is empty"),
        (predict, ["in", "--study", "results/x", "--output", ""], "the path is empty"),
        (map_scene, ["", *GIVEN], "the path is empty"),
        (rewrite, ["", "b.tif"], "the path is empty"),
        (rewrite, ["a.tif", ""], "the path is empty"),
        (rewrite, ["a.tif", "b.tif", "--like", ""], "the path is empty"),
        (rewrite, ["a.tif", "b.tif", "--pixel-m", "-5"], "-5 is no length; expected a number above 0"),
        (rewrite, ["a.tif", "b.tif", "--pixel-m", "nan"], "nan is no length"),
        (rewrite, ["a.tif", "b.tif", "--side-px", "0"], "0 is no number of pixels"),
        (predict, ["in", "--study", "results/x", "--output", __file__], "is a file; name a folder"),
        # As many threads as nothing can start end in a segmentation fault.
        (
            predict,
            ["in", *GIVEN, "--threads", "100000"],
            "100000 is out of range; expected a whole number from 1 to 1,",
        ),
        (map_scene, ["in", *GIVEN, "--threads", "0"], "0 is out of range"),
        (map_scene, ["in", *GIVEN, "--batch-size", "100001"], "100001 is out of range"),
        (predict, ["in", *GIVEN, "--parts", "1000000000000"], "1000000000000 is out of range"),
        (predict, ["in", *GIVEN, "--parts", "many"], "invalid whole number value: 'many'"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(command, arguments, words, capsys):
    with pytest.raises(SystemExit) as ending:
        command(arguments)
    assert ending.value.code == 2
    assert words in capsys.readouterr().err


def test_parts_of_other_numbers_and_of_killed_processes_are_removed(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    for name in ("0-of-2.parquet", "1-of-2.parquet", "3-of-4.parquet", ".1-of-4.parquet.0a1b.tmp"):
        (parts / name).touch()
    remove_parts(parts, keep=[parts / "0-of-2.parquet"])
    assert [path.name for path in parts.iterdir()] == ["0-of-2.parquet"]
    remove_parts(parts)
    assert list(tmp_path.iterdir()) == []
    remove_parts(parts)


def test_other_files_beside_parts_stay(tmp_path):
    (tmp_path / "notes.txt").touch()
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_with_files_of_the_user_is_no_folder_for_results(tmp_path):
    """What is in folders named `rasters`, `strips` and `unpacked-…` was deleted."""
    (tmp_path / "unpacked-fieldwork").mkdir()
    (tmp_path / "classes.tif").touch()
    with pytest.raises(StudyError, match="has files, and is not the folder of a prediction or map") as raised:
        plan_in(tmp_path)
    assert raised.value.found == "classes.tif, unpacked-fieldwork"
    # What a process leaves that was killed before it wrote its plan.
    killed = tmp_path / "killed"
    (killed / "unpacked-0123456789abcdef.unfinished").mkdir(parents=True)
    (killed / ".DS_Store").touch()
    assert plan_in(killed) == killed / "plan.json"
    # The second one is of the workflow.
    for record, content in (("plan.json", '{"fingerprint": "a"}'), ("prediction.json", '{"looked_at": {}}')):
        (tmp_path / record).write_text('{"mine": 1}')
        with pytest.raises(StudyError, match="is not the folder of a prediction or map"):
            plan_in(tmp_path)
        (tmp_path / record).write_text(content)
        assert plan_in(tmp_path) == tmp_path / "plan.json"
        (tmp_path / record).unlink()
    assert plan_in(tmp_path / "new") == tmp_path / "new" / "plan.json"


def plan_in(folder):
    with results_in(folder) as plan:
        return plan


def test_a_second_command_waits_for_the_first_in_the_same_folder(tmp_path):
    """Parts of one were joined with parts of the other."""
    begun, order = threading.Event(), []

    def second():
        begun.set()
        with results_in(tmp_path):
            order.append("second")

    with results_in(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        begun.wait(10)
        thread.join(0.5)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_strips_of_other_numbers_and_of_killed_processes_are_removed_and_other_files_stay(tmp_path):
    strips = tmp_path / "strips"
    strips.mkdir()
    for name in ("000000.npz", "000017.npz", ".000001.npz.0a1b.tmp", "notes.txt"):
        (strips / name).touch()
    remove_strips(strips)
    assert [path.name for path in strips.iterdir()] == ["notes.txt"]
    (strips / "notes.txt").unlink()
    remove_strips(strips)
    assert list(tmp_path.iterdir()) == []
