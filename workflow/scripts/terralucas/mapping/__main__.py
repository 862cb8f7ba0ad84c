"""Map a scene with the selected models of a study, without Snakemake.

PYTHONPATH=workflow/scripts python -m terralucas.mapping SCENE --study results/demo --output mapped
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from terralucas.codebase import code_of_script
from terralucas.commands import a_path
from terralucas.mapping.plan import make_plan
from terralucas.mapping.strip_files import STRIPS, missing_strips
from terralucas.predict.command import add_options, options_of, results_in, run, say_warnings
from terralucas.predict.selected import Selected, load_selected, require_current


def main(arguments: list[str] | None = None) -> int:
    """Map; return the exit code."""
    options = _parse(arguments)
    return run(lambda: _map(options))


def _map(options: argparse.Namespace) -> None:
    selected = load_selected(options.study)
    require_current(selected)
    with results_in(options.output) as file:
        _map_to(file, selected, options)


def _map_to(file: Path, selected: Selected, options: argparse.Namespace) -> None:
    code = code_of_script("map_part")
    plan = make_plan(options.input, selected, options.stride_m, options_of(options), file, code)
    say_warnings(plan.record)
    strips = options.output / STRIPS
    missing = missing_strips(plan, strips)
    if missing:
        # Imported late, because PyTorch and TerraTorch take seconds, which an error need not wait for.
        from terralucas.mapping.strips import map_strips
        from terralucas.predict.predictor import Predictor

        map_strips(plan, Predictor(selected, plan.options, options.threads), missing, strips)
    from terralucas.mapping.write import summary_text, write_map

    content = write_map(plan, selected, strips, options.output)
    print(f"{summary_text(content)}\n{options.output / 'map.html'}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m terralucas.mapping", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("input", type=a_path, nargs="+", help="GeoTIFF or VRT of the scene, or its band files")
    add(
        "--stride-m",
        type=float,
        default=None,
        help="side of a cell in metres, a multiple of the pixel size; default: 8 px",
    )
    add_options(parser, "windows")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
