"""The map as one picture with legend and coordinates."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from terralucas.files import atomic_path
from terralucas.mapping.colours import Colour, as_hex
from terralucas.mapping.small_map import SmallMap
from terralucas.mapping.strip_files import NO_CLASS


def write_picture(content: Mapping[str, Any], small: SmallMap, colours: Sequence[Colour], path: Path) -> None:
    """Draw classes and entropy side by side, and write a PNG file.

    Args:
        content: content of map.json.
        small: the map.
        colours: colour of each class.
        path: the file.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    left, bottom, right, top = content["bounds"]
    # The unit of the coordinates may be a foot.
    km = content["stride_m"] / content["transform"][0] / 1000
    extent = (left * km, right * km, bottom * km, top * km)
    shape = (top - bottom) / (right - left)
    figure = Figure(figsize=(12, float(np.clip(5 * shape, 2.5, 10)) + 1.8), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    palette = np.array([*colours, *[(255, 255, 255)] * (NO_CLASS + 1 - len(colours))], dtype=np.uint8)
    options: dict[str, Any] = {"extent": extent, "interpolation": "nearest"}
    axes[0].imshow(palette[small.labels], **options)
    axes[0].set_title("Class of the centre of each window")
    shown = axes[1].imshow(small.entropy, vmin=0, vmax=np.log(len(colours)), cmap="viridis", **options)
    axes[1].set_title("Entropy in nats: how unsure")
    figure.colorbar(shown, ax=axes[1], shrink=0.8)
    for each in axes:
        each.set_xlabel("easting in km")
        each.ticklabel_format(useOffset=False)
        each.tick_params(labelsize=8)
    axes[0].set_ylabel("northing in km")
    handles = [
        Patch(color=as_hex(colours[item["value"]]), label=f"{_name_of(item)} {item['share']:.1%}")
        for item in content["classes"]
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    warnings = _warnings(content)
    figure.suptitle(f"{content['study']}: {' × '.join(content['recipe'].values())}{warnings}", fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _name_of(item: Mapping[str, Any]) -> str:
    """Return the name of a class; its code if the font of the picture lacks a letter of the name."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    is_whole = all(font.get_char_index(ord(letter)) for letter in item["name"] if not letter.isspace())
    return textwrap.shorten(item["name"], 40) if is_whole else f"class {item['code']}"


def _warnings(content: Mapping[str, Any]) -> str:
    notes = {"simulated_chips": "trained on simulated chips", "random_weights": "random weights of the backbone"}
    said = [text for name, text in notes.items() if content[name]]
    return f"\nNot for use: {', '.join(said)}" if said else ""
