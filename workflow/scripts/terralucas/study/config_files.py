"""Check the text of configuration files, before their values are merged and the text is lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from terralucas.errors import StudyError

_SUFFIXES = (".yaml", ".yml", ".json")
# The first value of -C may stand directly behind it (-Cb=1), and letters of options without a value before it (-nC).
_CONFIG = re.compile("--config(=.*)?|-[DFSafhklnptv]*C.*", re.DOTALL)
_CONFIGFILE = re.compile("--configfiles?(=.*)?", re.DOTALL)
_TAG = "tag:yaml.org,2002:"
# Plain YAML.
_KINDS = {
    "map": "a mapping",
    "seq": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "timestamp": "a date",
    "merge": "a merge key",
}
# Snakemake and the schema copy what an alias stands for. The largest configuration of the project has 400 nodes.
_MAX_NODES, _MAX_DEPTH = 100_000, 50


def check_config_file(path: Path) -> None:
    """Check that a configuration file is a readable mapping in which every key stands once and says what it seems to.

    Raises:
        StudyError: the file is not there, is not UTF-8 or not YAML, contains itself or too much by its aliases, has a
            tag or key that is no plain YAML, has a key twice, or has a value without quotes that YAML reads as
            something else. The message names the file and the line.
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
    except RecursionError:
        raise _syntax_error(str(path), "lists or mappings inside each other, hundreds of levels deep") from None
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
    _require_finite(root, path)
    for said, problems in (
        ("has values that cannot be read", _find_other_types(root, ())),
        ("is ambiguous", itertools.chain(_find_repeated_keys(root, ()), _find_misread_values(root, ()))),
    ):
        lines = "".join(f"\n  - line {line}: {text}" for line, text in sorted(problems))
        if lines:
            raise StudyError(f"The configuration {path} {said}:{lines}", remedy="correct these lines")


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
        StudyError: an option is given twice, a target was taken for a configuration file, or as for
            `check_config_file`.
    """
    arguments = list(arguments)
    _require_once(arguments, "--config", _CONFIG, "--config training='{epochs: 3}' title=x")
    _require_once(arguments, "--configfile", _CONFIGFILE, "--configfile config/a.yaml config/b.yaml")
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


def _require_once(arguments: Sequence[str], name: str, forms: re.Pattern[str], example: str) -> None:
    """Raise a StudyError if an option is given twice, because Snakemake would read the last one alone.

    Args:
        arguments: those of the command line.
        name: the option.
        forms: matches an argument that gives it.
        example: how to write several values behind it.
    """
    options = itertools.takewhile(lambda argument: argument != "--", arguments)
    given = [argument for argument in options if forms.fullmatch(argument)]
    if len(given) > 1:
        raise StudyError(
            f"The option {name} is given {len(given)} times, and Snakemake would read the last one alone.",
            found=" … ".join(given),
            expected="the option once, with all its values",
            remedy=f"write all values behind one option: {example}",
        )


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


def _require_finite(root: yaml.Node, path: Path) -> None:
    """Raise a StudyError if aliases (`*name`) make a configuration infinite, too deep or too large.

    Each node is measured once, however many aliases stand for it.
    """
    sizes: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()

    def refuse(node: yaml.Node, found: str) -> StudyError:
        return StudyError(
            f"The configuration {path} cannot be read: line {node.start_mark.line + 1}.",
            found=found,
            expected=f"at most {_MAX_NODES:,} keys and values, {_MAX_DEPTH} levels deep",
            remedy="write the values out in place of aliases (*name)",
        )

    def measure(node: yaml.Node) -> tuple[int, int]:
        """Return how many nodes a node stands for, and how many levels it has."""
        if isinstance(node, yaml.ScalarNode):
            return 1, 1
        if id(node) in open_nodes:
            raise refuse(node, "an alias of what it is in, which would be read for ever")
        if len(open_nodes) >= _MAX_DEPTH:
            raise refuse(node, f"more than {_MAX_DEPTH} levels of lists and mappings")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            below = [measure(child) for item in node.value for child in (item if isinstance(item, tuple) else (item,))]
            open_nodes.remove(id(node))
            size, depth = 1 + sum(n for n, _ in below), 1 + max((levels for _, levels in below), default=0)
            if size > _MAX_NODES:
                raise refuse(node, f"aliases that stand for {size:,} keys and values or more")
            if depth > _MAX_DEPTH:
                raise refuse(node, f"more than {_MAX_DEPTH} levels of lists and mappings")
            sizes[id(node)] = (size, depth)
        return sizes[id(node)]

    measure(root)


def _find_other_types(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Find keys that are no text, and values with a tag that no configuration has or that does not fit them."""
    for child, below in _children(node, path):
        yield from _find_other_types(child, below)
    line, key = node.start_mark.line + 1, ".".join(path) or "the file"
    kind = node.tag.removeprefix(_TAG)
    if kind not in _KINDS:
        tag = f"!!{kind}" if node.tag.startswith(_TAG) else node.tag
        yield line, f"{key} has the tag {tag}, which no configuration has; remove it"
        return
    if isinstance(node, yaml.MappingNode):
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                yield name.start_mark.line + 1, f"{key} has a key that is a list or mapping; write text"
            elif name.tag.removeprefix(_TAG) not in _KINDS:
                yield name.start_mark.line + 1, f"the key {name.value} has the tag {name.tag}; remove it"
    constructor = yaml.constructor.SafeConstructor()
    try:
        if isinstance(node, yaml.ScalarNode):
            constructor.construct_object(node)
        elif kind not in ("seq", "map"):
            raise ValueError
    except (ValueError, LookupError, yaml.YAMLError):
        text = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        yield line, f"{key} is {text}, which YAML takes for {_KINDS[kind]} and cannot read; write text in quotes"


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
