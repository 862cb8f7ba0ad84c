"""Predict the classes of new chips with the selected models of a study, without Snakemake.

PYTHONPATH=workflow/scripts python -m terralucas.predict CHIPS --study results/demo --output predicted
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.predict.options import PredictOptions
from terralucas.predict.outputs import summary_text, write_joined
from terralucas.predict.plan import is_part_of, make_plan
from terralucas.predict.selected import load_selected


def main(arguments: list[str] | None = None) -> int:
    """Predict; return the exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # The weights are on the disk; a library that TerraTorch imports would ask servers for its latest version.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")
    try:
        _predict(options)
    except (StudyError, OSError) as error:
        print(explain(error) if isinstance(error, OSError) else error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; what is finished is kept, and the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


def _predict(options: argparse.Namespace) -> None:
    selected = load_selected(options.study)
    given = ("batch_size", "device", "precision", "coverage")
    plan = make_plan(
        options.input,
        selected,
        PredictOptions(**{name: getattr(options, name) for name in given}),
        options.output / "plan.json",
    )
    parts = [options.output / "parts" / f"{part}-of-{options.parts}.parquet" for part in range(options.parts)]
    missing = [part for part, path in enumerate(parts) if not is_part_of(path, plan)]
    if missing:
        # Imported late, because PyTorch and TerraTorch take seconds, which an error need not wait for.
        from terralucas.predict.predictor import Predictor, predict_part

        predictor = Predictor(selected, plan.options, options.threads)
        for part in missing:
            predict_part(plan, predictor, part, options.parts, parts[part], progress=True)
    content = write_joined(plan.record, parts, options.output)
    for path in parts:
        path.unlink()
    (options.output / "parts").rmdir()
    print(f"{summary_text(content)}\n{options.output / 'predictions.parquet'}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m terralucas.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, default = parser.add_argument, PredictOptions()
    add("input", type=Path, help="folder of GeoTIFF chips, table (.csv, .parquet) with a column path, archive, or chip")
    add("--study", type=Path, required=True, help="folder of the study, results/<study>, with its selected models")
    add("--output", type=Path, required=True, help="folder of the predictions")
    add("--parts", type=_positive, default=1, help="parts; finished parts are not repeated after an interruption")
    add("--batch-size", type=_positive, default=default.batch_size, help="chips in a forward pass")
    add("--threads", type=_positive, default=os.cpu_count() or 1, help="threads of PyTorch")
    add("--device", choices=("auto", "cpu", "cuda"), default=default.device)
    add("--precision", choices=("auto", "32", "16-mixed", "bf16-mixed"), default=default.precision)
    add("--coverage", type=_share, default=None, help="share of chips whose set of classes should contain the true one")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return int(text)


def _share(text: str) -> float:
    if not 0.5 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.5 and 1")
    return float(text)


if __name__ == "__main__":
    sys.exit(main())
