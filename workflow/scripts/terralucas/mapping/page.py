"""The map as one web page that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from rasterio.warp import transform

from terralucas.files import write_text
from terralucas.html_templates import html_environment
from terralucas.mapping.colours import Colour, as_hex, ramp_colours
from terralucas.mapping.small_map import SmallMap

TEMPLATES = Path(__file__).parent / "templates"
# Entropy is drawn in this many steps; the value after the last one means that there is none.
_STEPS = 255
# Longitude and latitude are known at this many places along each side of the map; the page interpolates between them,
# which is exact to a metre for maps of a satellite scene, but not near the poles.
_PLACES = 17


def write_page(content: Mapping[str, Any], small: SmallMap, colours: Sequence[Colour], path: Path) -> None:
    """Write the page of a map.

    Args:
        content: content of map.json.
        small: the map.
        colours: colour of each class.
        path: the file.
    """
    script = (TEMPLATES / "map.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = json.dumps(_page_data(content, small, colours), ensure_ascii=False)
    template = html_environment(TEMPLATES).get_template("map.html.j2")
    html = template.render(
        map=content,
        colours=[as_hex(colour) for colour in colours],
        ramp=[as_hex(colour) for colour in ramp_colours(9)],
        largest_entropy=float(np.log(len(colours))),
        cell_km2=(content["stride_m"] / 1000) ** 2,
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        # In JSON, < can only stand in texts.
        data=Markup(data.replace("<", "\\u003c")),
    )
    write_text(path, html)


def _page_data(content: Mapping[str, Any], small: SmallMap, colours: Sequence[Colour]) -> dict[str, Any]:
    """Return what the script of the page draws."""
    rows, columns = small.labels.shape
    has_class = np.isfinite(small.entropy)
    share = np.where(has_class, small.entropy, 0) / np.log(len(colours))
    entropy = np.where(has_class, np.rint((_STEPS - 1) * np.clip(share, 0, 1)), _STEPS)
    set_size = np.where(has_class, small.set_size, 0)
    planes = [small.labels, entropy, small.is_unlike, set_size, small.scene_colours()]
    return {
        "rows": rows,
        "columns": columns,
        "bounds": content["bounds"],
        "cellMetres": content["stride_m"],
        "classes": [
            {"name": item["name"], "colour": list(colour)}
            for item, colour in zip(content["classes"], colours, strict=True)
        ],
        "ramp": [list(colour) for colour in ramp_colours(_STEPS)],
        "largestEntropy": float(np.log(len(colours))),
        "places": _geographic_places(content),
        "planes": base64.b64encode(
            zlib.compress(b"".join(plane.astype(np.uint8).tobytes() for plane in planes), 9)
        ).decode("ascii"),
    }


def _geographic_places(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return longitude and latitude at evenly spaced places of the map, row by row from the upper left.

    Longitudes go on beyond 180 degrees, so that the script can interpolate between places on both sides of it.
    """
    left, bottom, right, top = content["bounds"]
    x, y = np.meshgrid(np.linspace(left, right, _PLACES), np.linspace(top, bottom, _PLACES))
    longitude, latitude = transform(content["crs"], "EPSG:4326", x.ravel(), y.ravel())
    longitude = [longitude[0] + (value - longitude[0] + 180) % 360 - 180 for value in longitude]
    return {
        "side": _PLACES,
        "longitude": [round(value, 7) for value in longitude],
        "latitude": [round(value, 7) for value in latitude],
    }
