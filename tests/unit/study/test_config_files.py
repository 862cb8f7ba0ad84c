"""What is refused in the text of a configuration file, and on a command line that names one."""

import pytest

from terralucas.errors import StudyError
from terralucas.study.config_files import check_arguments, check_config_file, require_targets_of_study


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="mine.yaml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write_file


def refusal(path):
    with pytest.raises(StudyError) as caught:
        check_config_file(path)
    return str(caught.value)


def test_a_key_that_stands_twice_is_named_with_both_lines(write):
    """YAML would keep the second `training` and drop the first with all its keys."""
    path = write("study: mine\ntraining:\n  epochs: 3\nlosses:\n- {type: ce, type: focal}\ntraining:\n  epochs: 5\n")
    message = refusal(path)
    assert str(path) in message
    assert "line 6: the key training is given again; it is in line 2 too" in message
    assert "line 5: the key losses[0].type is given again" in message


def test_keys_of_different_mappings_may_be_equal(write):
    check_config_file(write("a: &a {x: 1}\nb: {x: 1}\nc: {<<: *a, x: 2}\n"))


@pytest.mark.parametrize(
    ("written", "read"),
    [("01", "1"), ("010", "8"), ("0x1f", "31"), ("1_000", "1000"), ("1:20", "80"), ("NO", "false"), ("on", "true")],
)
def test_a_value_that_yaml_reads_as_another_needs_quotes(write, written, read):
    said = f'dataset.classes[1].code is {written}, which YAML reads as {read}; write "{written}" in quotes, or {read}'
    template = "dataset:\n  classes:\n  - {{code: 7}}\n  - {{code: {}}}\n"
    assert f"line 4: {said}" in refusal(write(template.format(written)))
    check_config_file(write(template.format(f'"{written}"')))


def test_dates_need_quotes(write):
    assert "title is 2018-07-01, which YAML reads as a date" in refusal(write("title: 2018-07-01\n"))


def test_usual_values_are_let_through(write):
    values = "[0, -3, 1.5, 1e-4, 1.0e-4, true, False, null, ~, text, '01', .nan]"
    check_config_file(write(f"a: {values}\n"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\nb: [1\nc: 2\n", "line 3, column 2"),
        ("a: 1\nb:\tc: d\n", "line 2, column 3"),
        (b"a: 1\nb: caf\xe9\n", "byte 0xe9 in line 2"),
        ("a: 1\n".encode("utf-16"), "is not UTF-8"),
        ("a: 1\nb: \x07\n", "line 2"),
        ("", "an empty file"),
        ("- a\n", "a list"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_place(write, content, said):
    path = write(content)
    message = refusal(path)
    assert said in message
    assert str(path) in message


def test_a_byte_order_mark_is_no_error(write):
    check_config_file(write(b"\xef\xbb\xbfstudy: mine\n"))


def test_json_is_checked_too(write):
    check_config_file(write('{\n\t"study": "mine"\n}', "mine.json"))
    assert "line 1: the key a.b is given again" in refusal(write('{"a": {"b": 1, "b": 2}}', "mine.json"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"none\.yaml cannot be read"):
        check_arguments(["-n", f"--configfile={tmp_path / 'none.yaml'}"])


@pytest.mark.parametrize("target", ["results/b/report.html", "power"])
@pytest.mark.parametrize("option", ["--configfile", "--configfiles"])
def test_a_target_that_was_taken_for_a_configuration_is_told(write, option, target):
    path = str(write("study: b\n"))
    with pytest.raises(StudyError) as caught:
        check_arguments(["--cores", "2", option, path, target])
    assert f"Snakemake takes {target} for a configuration file" in str(caught.value)
    assert f"--configfile {path} -- {target}" in str(caught.value)
    check_arguments(["--cores", "2", option, path, "--", target])
    check_arguments([target, "--config", "a=b", option, path, "-n"])


def test_a_target_of_another_study_names_what_was_read():
    with pytest.raises(StudyError) as caught:
        require_targets_of_study(["-n", "results/mine/report.html"], "my-study", ["config/mine.yaml"])
    for said in ("results/mine/report.html", "study 'my-study' in config/mine.yaml", "`study: mine`"):
        assert said in str(caught.value)
    require_targets_of_study(["results/my-study/report.html", "--report", "results/all.zip"], "my-study", [])
