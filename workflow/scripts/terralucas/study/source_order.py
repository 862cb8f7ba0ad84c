"""Which of its sources a study reads: the first one that can be used, in the order of the configuration.

A source in front of the one that was read was away, or was tried and could not be used. It is read in its place as soon
as it is there and has changed; until then it decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from terralucas.contents import (
    States,
    identities_of,
    read_record,
    states_of,
    token_elsewhere,
    token_of,
    token_of_absent,
    write_record,
)
from terralucas.data.discovery.folders import walk
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json, write_text
from terralucas.study.source_files import LOCAL, Source, digest_of_file, files_of_source

# Beside the record of the files that were read: which source was read, and the files of those that could not be used.
_ORDER, _TRIED = "source_order.json", "source_tried"


class SourceTokens(NamedTuple):
    """What Snakemake compares of the sources of the chips.

    Attributes:
        contents: what is in the local source that is read.
        tracked: which source is read, with its expected checksum, and the sources in front that are not local.
    """

    contents: str
    tracked: str


def without_places(sources: Sequence[Source]) -> str:
    """Return a token of the sources before one was read; it depends on local ones as little as possible.

    Of local sources, only the type of the first, expected checksums, and whether one stands before a source that is not
    local count.
    """
    entries: list[dict[str, Any]] = []
    for source in sources:
        is_next_local = bool(entries) and source["type"] in LOCAL and entries[-1]["type"] in LOCAL
        if not is_next_local or source.get("sha256"):
            entries.append({key: value for key, value in source.items() if key != "path"})
    # A local source that is tried after all others changes nothing where another one worked.
    if len(entries) > 1 and entries[-1]["type"] in LOCAL and not entries[-1].get("sha256"):
        del entries[-1]
    return sha256_of_json(entries)


def tokens_of_sources(sources: Sequence[Source], layout: Mapping[str, Any], record: Path) -> SourceTokens:
    """Return the tokens of the sources; they stay the same while the same source would be read, with the same content.

    A source at another path is the one that was read if the same is in it: a folder that was moved or copied, or a path
    in other words. The record then says where it is now.

    Args:
        sources: `dataset.sources` of the configuration.
        layout: section `dataset.layout` of the configuration.
        record: record of the files that were read.
    """
    known, order = read_record(record), read_record(record.with_name(_ORDER))
    if known is None:
        return _tokens_of_unread(sources, layout, record)
    for place, source in enumerate(sources):
        files = files_of_source(source, layout)
        contents = _token_of_read(source, files, record, known, order)
        if contents is None and files and _is_new(source, files, record):
            contents = _token_of_copy(source, files, record, known)
            if contents is None:
                break
        if contents is not None:
            return SourceTokens(contents, _tracked(sources, place, order))
    return _tokens_of_unread(sources, layout, record)


def _tokens_of_unread(sources: Sequence[Source], layout: Mapping[str, Any], record: Path) -> SourceTokens:
    """Return the tokens of sources of which none is the one that was read."""
    every = {
        f"{number}/{name}": path
        for number, source in enumerate(sources)
        for name, path in files_of_source(source, layout).items()
    }
    return SourceTokens(token_of_absent(record, every, digest_of_file), without_places(sources))


def states_of_sources(sources: Sequence[Source], layout: Mapping[str, Any]) -> list[States]:
    """Return the states of the files of each source; empty for one that is away, or is not local."""
    return [states_of(files_of_source(source, layout)) for source in sources]


def write_order(
    record: Path,
    sources: Sequence[Source],
    layout: Mapping[str, Any],
    read: int,
    states: Sequence[States],
    tracked: str,
) -> None:
    """Record which source was read, and what was in those in front that could not be used.

    Args:
        record: record of the files that were read; the records of this function are beside it.
        sources: `dataset.sources` of the configuration.
        layout: section `dataset.layout` of the configuration.
        read: place in this list of the source that was read.
        states: `states_of_sources` before the first source was tried.
        tracked: the token `tracked` of the sources at that time.
    """
    for other in record.parent.glob(f"{_TRIED}-*.json"):
        other.unlink()
    for source, before in zip(sources[:read], states, strict=False):
        files = files_of_source(source, layout)
        # One that has changed since it was tried may be usable now.
        if files and identities_of(states_of(files)) == identities_of(before):
            write_record(_tried(record, source), _state_of(source), source["path"], files, before, {}, digest_of_file)
    in_front, entry = _others_in_front(sources, read), _entry(sources[read])
    text = json.dumps({"read": entry, "in_front": in_front, "tracked": tracked})
    write_text(record.with_name(_ORDER), f"{text}\n")


def _token_of_read(
    source: Source,
    files: Mapping[str, Path],
    record: Path,
    known: Mapping[str, Any],
    order: Mapping[str, Any] | None,
) -> str | None:
    """Return the token of a source if it is the one that was read; None if it is another one."""
    if source["type"] not in LOCAL:
        # An address or a simulation; of an earlier version of the workflow, nothing says which one.
        is_read = known["origin"] is None and (order is None or order["read"] == _entry(source))
        return str(known["token"]) if is_read else None
    # By the path as it is configured: a link that is away for now leads nowhere.
    return token_of(record, files, digest_of_file) if source["path"] == known["origin"] else None


def _token_of_copy(source: Source, files: Mapping[str, Path], record: Path, known: Mapping[str, Any]) -> str | None:
    """Return the token of a local source at another path if the same is in it; None if it holds something else."""
    found = {name: state.size for name, state in states_of(files).items()}
    recorded = {name: entry[0] for name, entry in known["files"].items()}
    # Without this, a large archive would be read at each start. Only what is read of XML files has to be the same.
    if any(found.get(name) != recorded.get(name) for name in {*found, *recorded} if not name.lower().endswith(".xml")):
        return None
    return token_elsewhere(record, source["path"], files, digest_of_file)


def _is_new(source: Source, files: Mapping[str, Path], record: Path) -> bool:
    """Return whether a local source is not as it was when it was tried and could not be used."""
    tried = _tried(record, source)
    return not tried.exists() or token_of(tried, files, digest_of_file) != _state_of(source)


def _tracked(sources: Sequence[Source], read: int, order: Mapping[str, Any] | None) -> str:
    """Return the recorded token, if the same source is read and no other one in front of it is new."""
    if order is None:
        return without_places(sources)
    in_front, entry = _others_in_front(sources, read), _entry(sources[read])
    if entry == order["read"] and set(in_front) <= set(order["in_front"]):
        return str(order["tracked"])
    return sha256_of_json(["sources", *in_front, entry])


def _others_in_front(sources: Sequence[Source], read: int) -> list[str]:
    """Return the tokens of the sources in front of the one that was read which are not local."""
    return [_entry(source) for source in sources[:read] if source["type"] not in LOCAL]


def _entry(source: Source) -> str:
    """Return a token of a source without its path; addresses may contain passwords, so they are not recorded."""
    return sha256_of_json({key: value for key, value in source.items() if key != "path"})


def _state_of(source: Source) -> str:
    """Return a token of a local source without its path, and of what cannot be read in it, such as broken links."""
    obstacle = ""
    if source["type"] == "directory":
        root = Path(source["path"]).expanduser()
        try:
            walk(root).require_readable(root)
        except StudyError as error:
            obstacle = error.found or error.problem
    return sha256_of_json([_entry(source), obstacle])


def _tried(record: Path, source: Source) -> Path:
    """Return the record of a source that could not be used."""
    return record.with_name(f"{_TRIED}-{sha256_of_json(source['path'])[:12]}.json")
