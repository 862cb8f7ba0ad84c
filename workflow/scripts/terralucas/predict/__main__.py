"""Predict the classes of new chips with the selected models of a study, without Snakemake.

PYTHONPATH=workflow/scripts python -m terralucas.predict CHIPS --study results/demo --output predicted
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from terralucas.codebase import code_of_script
from terralucas.commands import a_path
from terralucas.predict.command import add_options, count, options_of, results_in, run, say_warnings
from terralucas.predict.outputs import remove_parts, summary_text, write_joined
from terralucas.predict.plan import is_part_of, make_plan, require_unchanged
from terralucas.predict.selected import Selected, load_selected, require_current


def main(arguments: list[str] | None = None) -> int:
    """Predict; return the exit code."""
    options = _parse(arguments)
    return run(lambda: _predict(options))


def _predict(options: argparse.Namespace) -> None:
    selected = load_selected(options.study)
    require_current(selected)
    with results_in(options.output) as file:
        _predict_to(file, selected, options)


def _predict_to(file: Path, selected: Selected, options: argparse.Namespace) -> None:
    plan = make_plan(options.input, selected, options_of(options), file, code_of_script("predict_part"))
    say_warnings(plan.record)
    parts = [options.output / "parts" / f"{part}-of-{options.parts}.parquet" for part in range(options.parts)]
    missing = [part for part, path in enumerate(parts) if not is_part_of(path, plan)]
    if missing:
        # Imported late, because PyTorch and TerraTorch take seconds, which an error need not wait for.
        from terralucas.predict.predictor import Predictor, predict_part

        predictor = Predictor(selected, plan.options, options.threads)
        for part in missing:
            predict_part(plan, predictor, part, options.parts, parts[part], partial(require_unchanged, plan))
    content = write_joined(plan, parts, options.output)
    remove_parts(options.output / "parts")
    print(f"{summary_text(content)}\n{options.output / 'predictions.parquet'}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m terralucas.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "input",
        type=a_path,
        help="folder of GeoTIFF chips, table (.csv, .parquet) with a column path, archive, chip",
    )
    add("--parts", type=count("shards"), default=1, help="parts; finished parts are not repeated after an interruption")
    add_options(parser, "chips")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
