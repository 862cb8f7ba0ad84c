"""Jobs of a cluster get the configuration that the start has read, or the start ends."""

import shutil
from pathlib import Path

import pytest

from execution.start import config_files as _config_files
from execution.start import configuration_copies as _configuration_copies
from execution.start.configuration_copies import copy_again, copy_configuration, remember_content
from terralucas.errors import StudyError


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_configuration_copies, "_read", {})
    monkeypatch.setattr(_configuration_copies, "_copies", {})
    Path("config").mkdir()
    Path("config/mine.yaml").write_text("study: mine\n")
    return tmp_path / "config/mine.yaml"


def test_jobs_get_a_copy_that_a_later_edit_does_not_change(file):
    remember_content([file])
    files = [file]
    copy_configuration(files)
    file.write_text("study: other\n")
    (copy,) = files
    assert (copy.name, copy.read_text()) == ("mine.yaml", "study: mine\n")


def test_a_copy_that_was_deleted_is_there_for_the_next_job(file):
    """The user may have edited the file meanwhile."""
    files = [file]
    copy_configuration(files)
    file.write_text("study: other\n")
    shutil.rmtree(".snakemake")
    copy_again()
    assert files[0].read_text() == "study: mine\n"


def edit(file):
    file.write_text("study: other\n")


def delete(file):
    file.unlink()


@pytest.mark.parametrize(("change", "found"), [(edit, "other content"), (delete, "No such file")])
def test_a_file_that_changes_between_reading_and_copying_ends_the_start(file, change, found):
    remember_content([file])
    change(file)
    with pytest.raises(StudyError, match=rf"was changed while the study started[\s\S]*found: {found}[\s\S]*again"):
        copy_configuration([file])


def test_the_content_before_snakemake_reads_it_counts(file):
    """The profile checks the files of the command line first; the Snakefile sees them when Snakemake has read them."""
    _config_files.check_or_exit(["--configfile", "config/mine.yaml"])
    edit(file)
    remember_content([file])
    with pytest.raises(StudyError, match="was changed while the study started"):
        copy_configuration([file])
