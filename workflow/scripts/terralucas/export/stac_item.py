"""A STAC item that describes the exported models, with the extension Machine Learning Model (MLM)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unicodedata import combining, normalize

import jsonschema
import numpy as np
import yaml

from terralucas.errors import StudyError
from terralucas.geography import EPSG

EXTENSION = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
# Rules of the extension for the fields that this module writes; the extension's own schema is only on its server.
_RULES = Path(__file__).with_name("mlm_rules.yaml")
_ASSETS = {
    "onnx": ("model.onnx", "application/octet-stream; framework=onnx", "ONNX"),
    "torch_export": ("model.pt2", "application/octet-stream; framework=pytorch", "torch.export.save"),
}


def make_item(
    description: Mapping[str, Any],
    n_models: int,
    parameters: int,
    pretrained_source: str | None,
    places: np.ndarray,
) -> dict[str, Any]:
    """Make the item.

    Args:
        description: study, recipe, bands, unit, side and classes, as in each config.json.
        n_models: number J of models.
        parameters: number of weights.
        pretrained_source: where the backbone's weights come from; None for random weights.
        places: (m, 2) easting and northing of chips, in ETRS89-LAEA; the item's extent holds them.

    Returns:
        The item as JSON.

    Raises:
        StudyError: the item is invalid.
    """
    import pystac

    bbox, bands = _extent(places), [{"name": band} for band in description["bands"]]
    item = pystac.Item(
        id=_identifier(description["study"]) or "model",
        geometry=None if bbox is None else _area(bbox),
        bbox=bbox,
        datetime=datetime.now(UTC).replace(microsecond=0),
        properties={
            "title": f"Land-cover classifier of the study {description['study']}",
            # STAC 1.1 allows bands here if they are also those of an asset; MLM 1.5 requires them here.
            "bands": bands,
            "mlm:name": _identifier(f"model {description['study']} {' '.join(description['recipe'].values())}"),
            "mlm:architecture": "TerraMind",
            "mlm:tasks": ["scene-classification"],
            "mlm:framework": "PyTorch",
            "mlm:framework_version": version("torch").partition("+")[0],
            # In float32.
            "mlm:memory_size": 4 * parameters,
            "mlm:total_parameters": parameters,
            "mlm:pretrained": pretrained_source is not None,
            "mlm:pretrained_source": pretrained_source,
            "mlm:accelerator": None,
            "mlm:input": [_input(description)],
            "mlm:output": _outputs(description, n_models),
        },
        stac_extensions=[EXTENSION],
    )
    for name, (file, media_type, artifact) in _ASSETS.items():
        fields = {"mlm:artifact_type": artifact, "bands": bands}
        item.add_asset(name, pystac.Asset(f"./{file}", media_type=media_type, roles=["mlm:model"], extra_fields=fields))
    item.add_asset("card", pystac.Asset("./README.md", media_type="text/markdown", roles=["metadata"]))
    content = item.to_dict(include_self_link=False)
    check_item(content)
    return content


def check_item(item: Mapping[str, Any]) -> None:
    """Check an item with the JSON schemas of STAC 1.1 and the rules of the extension, without a network.

    Raises:
        StudyError: the item is invalid.
    """
    from pystac.errors import STACValidationError
    from pystac.validation import validate_dict

    try:
        # The extensions' schemas would be fetched from their servers.
        validate_dict(dict(item), extensions=[])
        jsonschema.validate(item, yaml.safe_load(_RULES.read_text(encoding="utf-8")))
    except (STACValidationError, jsonschema.ValidationError) as error:
        # pystac keeps the errors of the schema in `source`.
        first = error.source[0] if isinstance(error, STACValidationError) and error.source else error
        raise StudyError(
            "The STAC item of the exported models is invalid.",
            found=str(getattr(first, "message", first)).splitlines()[0],
            expected="an item of STAC 1.1 with the extension MLM 1.5",
            remedy="report this; nothing was exported",
        ) from None


def _input(description: Mapping[str, Any]) -> dict[str, Any]:
    side = description["side_px"]
    return {
        "name": "chips",
        "description": f"Reflectance in {description['unit_in_words']}; the normalisation is in the graph. "
        f"{description['missing_pixels']}",
        "bands": list(description["bands"]),
        "input": {
            "shape": [-1, len(description["bands"]), side, side],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "resize_type": None,
        "value_scaling": None,
    }


def _outputs(description: Mapping[str, Any], n_models: int) -> list[dict[str, Any]]:
    names = _class_names([entry["name"] for entry in description["classes"]])
    classes = [
        {"value": number, "name": name, "description": f"{entry['code']}: {entry['name']}"}
        for number, (name, entry) in enumerate(zip(names, description["classes"], strict=True))
    ]
    shapes = {
        "logits": ([-1, n_models, len(classes)], ["batch", "model", "class"], "Logits of each model"),
        "probabilities": ([-1, len(classes)], ["batch", "class"], "Mean of the probabilities of all models"),
    }
    return [
        {
            "name": name,
            "description": words,
            "tasks": ["scene-classification"],
            "result": {"shape": shape, "dim_order": order, "data_type": "float32"},
            "classification:classes": classes,
        }
        for name, (shape, order, words) in shapes.items()
    ]


def _extent(places: np.ndarray) -> list[float] | None:
    """Return west, south, east and north of chips in WGS 84; None without places.

    Chips on both sides of the antimeridian have a western longitude that is greater than the eastern one, as in
    RFC 7946, section 5.2.
    """
    from rasterio.warp import transform

    if not len(places):
        return None
    longitudes, latitudes = map(np.array, transform(f"EPSG:{EPSG}", "EPSG:4326", *places.T))
    # The extent begins after the widest gap between longitudes, all around the Earth.
    ordered = np.sort(longitudes)
    first = int(np.diff(ordered, prepend=ordered[-1] - 360).argmax())
    corners = (ordered[first], latitudes.min(), ordered[first - 1], latitudes.max())
    return [round(float(value), 4) for value in corners]


def _area(bbox: Sequence[float]) -> dict[str, Any]:
    """Return the rectangle of an extent; two of them on both sides of the antimeridian (RFC 7946, section 3.1.9)."""
    west, south, east, north = bbox
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    if west > east:
        # Coordinates are rounded, and may be the antimeridian itself.
        spans = [(a, b) for a, b in spans if a < b] or [(180.0, 180.0)]
    rings = [[[[a, south], [b, south], [b, north], [a, north], [a, south]]] for a, b in spans]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _identifier(text: str) -> str:
    """Return a text of letters without accents, digits and hyphens; empty for one of other letters."""
    plain = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return re.sub(r"[^0-9A-Za-z]+", "-", plain).strip("-")


def _class_names(names: Sequence[str]) -> list[str]:
    """Return names of classes as the extension allows them; those that would be empty or the same get their number."""
    plain = [_identifier(name) for name in names]
    return [
        name if name and plain.count(name) == 1 else f"{name or 'class'}-{number}" for number, name in enumerate(plain)
    ]
