"""Name the sources of chips: in messages, in records, and in files."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from terralucas.errors import printable
from terralucas.files import real_path

# Settings of a source, as in `dataset.sources`.
Source = dict[str, Any]


def origin_of(source: Source) -> str:
    """Return where the chips of a source come from, without a password."""
    match source["type"]:
        case "gdrive":
            return source["id"]
        case "url":
            return remove_secrets(source["url"])
        case "simulated":
            return f"{source['chips']} chips of {source['size_px']} px, seed {source['seed']}"
        case _:
            return str(real_path(source["path"]))


def label_of(source: Source) -> str:
    """Return the name of a source in messages: its type and origin."""
    return printable(f"{source['type']} {origin_of(source)}")


def archive_name(source: Source) -> str:
    """Return a file name for the archive of a source that is different for every source."""
    match source["type"]:
        case "gdrive":
            return "gdrive-" + re.sub(r"[^\w-]", "_", source["id"]) + ".archive"
        case "url":
            # Two files may differ only in the query, which must not be visible.
            digest = hashlib.sha256(source["url"].encode()).hexdigest()[:12]
            basename = re.sub(r"[^\w.-]", "_", origin_of(source).rpartition("/")[2])[-80:]
            return f"url-{digest}-{basename}"
        case _:
            return "simulated-{chips}-{size_px}-{seed}.tar.gz".format(**source)


def remove_secrets(text: str) -> str:
    """Remove user, password, query and fragment from all URLs, and paths of URLs, in a text."""
    return re.sub(r"[?#]\S*", "", re.sub(r"//[^/?#\s]*@", "//", text))
