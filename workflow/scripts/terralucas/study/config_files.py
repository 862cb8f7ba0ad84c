"""Check the text of configuration files, before their values are merged and the text is lost."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from terralucas.errors import StudyError

_SUFFIXES = (".yaml", ".yml", ".json")
_TAG = "tag:yaml.org,2002:"


def check_config_file(path: Path) -> None:
    """Check that a configuration file is a readable mapping in which every key stands once and says what it seems to.

    Raises:
        StudyError: the file is not there, is not UTF-8 or not YAML, has a key twice, or has a value without quotes that
            YAML reads as something else. The message names the file and the line.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The positions of `utf-8-sig` do not count a byte order mark.
        line = error.object[: error.start].count(b"\n") + 1
        raise StudyError(
            f"The configuration {path} is not UTF-8.",
            found=f"byte {error.object[error.start]:#04x} in line {line}",
            expected="a text file in UTF-8",
            remedy="save the file as UTF-8 in your editor",
        ) from None
    except OSError as error:
        raise StudyError(
            f"The configuration {path} cannot be read.",
            found=error.strerror,
            expected="a YAML file",
            remedy="correct --configfile; targets come after `--`: snakemake --configfile config/mine.yaml -- <target>",
        ) from None
    with contextlib.suppress(ValueError):
        # JSON is YAML but for tabs between its values.
        json.loads(text)
        text = text.replace("\t", " ")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _syntax_error(f"{path}{place}", " ".join(filter(None, [error.context, error.problem]))) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise _syntax_error(f"{path}, line {line}", f"the character {error.character!r}, {error.reason}") from None
    if not isinstance(root, yaml.MappingNode):
        raise StudyError(
            f"The configuration {path} has no keys.",
            found="an empty file" if root is None else "a list" if isinstance(root, yaml.SequenceNode) else "text",
            expected="keys such as `study: mine`",
            remedy="correct the file, or --configfile; config/README.md explains the keys",
        )
    problems = [*_find_repeated_keys(root, ()), *_find_misread_values(root, ())]
    if problems:
        lines = "".join(f"\n  - line {line}: {text}" for line, text in sorted(problems))
        raise StudyError(f"The configuration {path} is ambiguous:{lines}", remedy="correct these lines")


def configfiles_of(arguments: Iterable[str]) -> list[str]:
    """Return what Snakemake takes for configuration files: every argument after --configfile up to the next option."""
    found, is_following = [], False
    for argument in arguments:
        if argument.startswith("-"):
            option, _, value = argument.partition("=")
            is_following = len(option) > len("--config") and "--configfiles".startswith(option)
            found += [value] if is_following and value else []
        elif is_following:
            found.append(argument)
    return found


def check_arguments(arguments: Iterable[str]) -> None:
    """Check the configuration files of a command line.

    Raises:
        StudyError: a target was taken for a configuration file, or as for `check_config_file`.
    """
    files = configfiles_of(arguments)
    for file in files:
        path = Path(file)
        is_target = path.parts[:1] == ("results",) or not path.exists()
        if file != files[0] and is_target and path.suffix.lower() not in _SUFFIXES:
            raise StudyError(
                f"Snakemake takes {file} for a configuration file, because it follows --configfile.",
                found=f"--configfile {' '.join(files)}",
                expected="`--` between configuration files and targets",
                remedy=f"snakemake … --configfile {' '.join(files[: files.index(file)])} -- {file}",
            )
        check_config_file(path)


def require_targets_of_study(arguments: Iterable[str], study: str, read: Iterable[Path]) -> None:
    """Check that targets `results/<study>/…` of a command line belong to the study that was read.

    Raises:
        StudyError: a target belongs to another study.
    """
    previous, are_targets = "", False
    for argument in arguments:
        parts = Path(argument).parts
        is_value = not are_targets and previous in ("--report", "--archive", "--directory", "-d")
        if len(parts) > 1 and parts[0] == "results" and parts[1] != study and not is_value:
            names = " and ".join(map(str, read))
            raise StudyError(
                f"The target {argument} is not of the study that was read.",
                found=f"study {study!r} in {names}",
                expected=f"a configuration with `study: {parts[1]}`",
                remedy=f"ask for results/{study}/…, correct `study:`, or name the configuration of {parts[1]!r}: "
                f"snakemake --configfile <file> -- {argument}",
            )
        previous, are_targets = argument, are_targets or argument == "--"


def _syntax_error(place: str, found: str) -> StudyError:
    return StudyError(
        f"The configuration is no valid YAML: {place}.",
        found=found,
        expected="`key: value` lines, indented by spaces, and text with special characters in quotes",
        remedy="correct this line or the one before it",
    )


def _find_repeated_keys(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Find keys that stand twice in a mapping: YAML takes the last one, and drops all that is under the others."""
    for child, below in _children(node, path):
        yield from _find_repeated_keys(child, below)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value == "<<" or not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in first:
            yield line, f"the key {'.'.join([*path, key.value])} is given again; it is in line {first[key.value]} too"
        first.setdefault(key.value, line)


def _find_misread_values(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Find values without quotes that YAML reads as another number, as true or false, or as a date."""
    for child, below in _children(node, path):
        yield from _find_misread_values(child, below)
    if not isinstance(node, yaml.ScalarNode) or node.style is not None or not _is_misread(node):
        return
    value: Any = yaml.safe_load(node.value)
    shown = str(value).lower() if isinstance(value, bool) else value
    kind = "a date" if node.tag == f"{_TAG}timestamp" else f"{shown}"
    yield (
        node.start_mark.line + 1,
        f'{".".join(path)} is {node.value}, which YAML reads as {kind}; write "{node.value}" in quotes'
        + ("" if kind == "a date" else f", or {shown}"),
    )


def _is_misread(node: yaml.ScalarNode) -> bool:
    text = node.value.lstrip("+-").lower()
    match node.tag.removeprefix(_TAG):
        case "int":
            return str(int(text)) != text if text.isdecimal() else True
        case "float":
            return ":" in text or "_" in text
        case "bool":
            return text not in ("true", "false")
        case "timestamp":
            return True
        case _:
            return False


def _children(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[yaml.Node, tuple[str, ...]]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield value, (*path, str(key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield item, (*path[:-1], f"{path[-1] if path else ''}[{number}]")
