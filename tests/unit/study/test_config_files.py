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


def test_aliases_that_stand_for_too_much_are_refused_with_the_line(write):
    """The "billion laughs": each line has nine times the values of the one before it."""
    lines = ["study: mine", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 60)]
    path = write("\n".join(lines) + "\n")
    # 9^6 values, the first power above the limit, are in a5 in line 7.
    assert f"The configuration {path} cannot be read: line 7." in refusal(path)
    merged = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 60)]
    # Each of the mappings has a merge key, a list and what it merges: 9^5 of them are in a5 in line 6.
    assert "cannot be read: line 6." in refusal(write("\n".join(merged) + "\n"))


@pytest.mark.parametrize("content", ["a: 1\nb: &b\n  c: *b\n", "a: 1\nb: &b [[*b]]\n", "a: 1\nb: &b\n  <<: *b\n"])
def test_an_alias_of_what_it_is_in_is_refused_with_the_line(write, content):
    message = refusal(write(content))
    assert "mine.yaml cannot be read: line " in message
    assert "an alias of what it is in" in message


@pytest.mark.parametrize("levels", [60, 5000])
def test_deep_lists_are_refused(write, levels):
    assert "levels" in refusal(write(f"a: {'[' * levels}{']' * levels}\n"))


def test_deep_chains_of_aliases_are_refused(write):
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 3000)]
    assert "more than 50 levels" in refusal(write("\n".join(lines) + "\n"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("!foo x", "line 2: training.x has the tag !foo, which no configuration has"),
        ("!!python/object:os.system {}", "line 2: training.x has the tag !!python/object:os.system"),
        ("!!set {a, b}", "line 2: training.x has the tag !!set"),
        ("!!binary aGk=", "has the tag !!binary"),
        ("=", "has the tag !!value"),
        ("!!int abc", "line 2: training.x is abc, which YAML takes for a whole number and cannot read"),
        ("!!bool abc", "training.x is abc, which YAML takes for true or false"),
        ("!!int [1]", "training.x is a list or mapping, which YAML takes for a whole number"),
        ("2018-13-45", "line 2: training.x is 2018-13-45, which YAML takes for a date and cannot read"),
        ("{[a, b]: 1}", "line 2: training.x has a key that is a list or mapping"),
        ("{!foo a: 1}", "line 2: the key a has the tag !foo"),
        ("{? {a: 1} : 1}", "line 2: training.x has a key that is a list or mapping"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_key_and_line(write, value, said):
    path = write(f"training:\n  x: {value}\n")
    message = refusal(path)
    assert said in message
    assert str(path) in message


def test_aliases_and_plain_tags_are_let_through(write):
    check_config_file(write("a: &a {x: !!float 1, y: !!str 01}\nb: *a\nc: [*a, *a]\nd: {<<: *a}\n"))


def test_a_byte_order_mark_is_no_error(write):
    check_config_file(write(b"\xef\xbb\xbfstudy: mine\n"))


def test_json_is_checked_too(write):
    check_config_file(write('{\n\t"study": "mine"\n}', "mine.json"))
    assert "line 1: the key a.b is given again" in refusal(write('{"a": {"b": 1, "b": 2}}', "mine.json"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"none\.yaml cannot be read"):
        check_arguments(["-n", f"--configfile={tmp_path / 'none.yaml'}"])


def test_every_configuration_file_of_a_command_line_is_checked(write):
    first, second = write("study: mine\n", "first.yaml"), write("training: {epochs: 3, epochs: 5}\n", "second.yaml")
    with pytest.raises(StudyError, match=r"second\.yaml is ambiguous:\n  - line 1: the key training\.epochs"):
        check_arguments(["-n", "--configfile", str(first), str(second)])


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


@pytest.mark.parametrize("options", [["--config", "a=b", "-C", "c=d"], ["--config=a=b", "-n", "--config", "c=d"],
                                     ["--config", "a=b", "-Cc=d"], ["-C", "a=b", "-nC", "c=d"], ["-Ca=b", "-pCc=d"],
                                     ["--configfile", "a.yaml", "--configfiles=b.yaml"]])  # fmt: skip
def test_an_option_of_which_snakemake_would_read_the_last_alone_is_refused(options):
    with pytest.raises(StudyError, match="given 2 times"):
        check_arguments(options)
    check_arguments(["--config", "a=b", "c=d", "-dCopy", "-n", "--", *options[:1]])


def test_a_target_of_another_study_names_what_was_read():
    with pytest.raises(StudyError) as caught:
        require_targets_of_study(["-n", "results/mine/report.html"], "my-study", ["config/mine.yaml"])
    for said in ("results/mine/report.html", "study 'my-study' in config/mine.yaml", "`study: mine`"):
        assert said in str(caught.value)
    require_targets_of_study(["results/my-study/report.html", "--report", "results/all.zip"], "my-study", [])
