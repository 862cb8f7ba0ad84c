"""What the commands `python -m terralucas.predict` and `python -m terralucas.mapping` have in common."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from terralucas.commands import a_path
from terralucas.data.discovery.folders import is_of_system
from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.folder_locks import locked
from terralucas.folder_locks import logger as log_of_locks
from terralucas.machine_errors import explain_machine
from terralucas.predict.new_chips import is_unpacked
from terralucas.predict.options import PredictOptions
from terralucas.processors import count_processors
from terralucas.results_input import MAP_RECORD, PREDICTION_RECORD
from terralucas.sockets import use_folder_for_sockets
from terralucas.study.schema import load_schema

# Of plans and of records of finished results.
_KEYS_OF_RECORDS = {"fingerprint", "looked_at"}


def add_options(parser: argparse.ArgumentParser, batch_of: str) -> None:
    """Add the options of a prediction.

    Args:
        parser: the parser of the command.
        batch_of: what a forward pass takes: `chips` or `windows`.
    """
    add, default = parser.add_argument, PredictOptions()
    readers = "threads that read windows" if batch_of == "windows" else "processes that read chips (at most 8)"
    add("--study", type=a_path, required=True, help="folder of the study, results/<study>, with its selected models")
    add("--output", type=a_folder, required=True, help="folder of the results")
    add("--batch-size", type=count("batch_size"), default=default.batch_size, help=f"{batch_of} in a forward pass")
    add("--threads", type=count("threads"), default=count_processors(), help=f"threads of PyTorch, and {readers}")
    add("--device", choices=("auto", "cpu", "cuda"), default=default.device)
    add("--precision", choices=("auto", "32", "16-mixed", "bf16-mixed"), default=default.precision)
    add(
        "--coverage",
        type=_share,
        default=None,
        help=f"share of {batch_of} whose set of classes should hold the true one",
    )
    add(
        "--allow-offset",
        action="store_true",
        help="predict although the pixels seem to have an offset that the training chips do not have, or the reverse",
    )
    add(
        "--allow-band-order",
        action="store_true",
        help="predict although the pixels seem to have their bands in another order or scale than the study",
    )


def options_of(parsed: argparse.Namespace) -> PredictOptions:
    """Return the options of a prediction from the arguments of a command."""
    given = ("batch_size", "device", "precision", "coverage", "allow_offset", "allow_band_order")
    return PredictOptions(**{name: getattr(parsed, name) for name in given})


def run(work: Callable[[], None]) -> int:
    """Do the work of a command, and return its exit code; errors of the user are printed without a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # It says for what the command waits.
    log_of_locks.setLevel(logging.INFO)
    # The weights are on the disk; a library that TerraTorch imports would ask servers for its latest version.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")
    try:
        use_folder_for_sockets()
        work()
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, EOFError, MemoryError, RuntimeError) as error:
        problem = explain_machine(error) or (explain(error) or error if isinstance(error, OSError) else None)
        if problem is None:
            raise
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; what is finished is kept, and the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


@contextmanager
def results_in(folder: Path) -> Iterator[Path]:
    """Yield the file of the plan in the folder of the results, which is made and locked: files there are replaced.

    Raises:
        StudyError: the folder has files, and none of these commands made it.
    """
    plan = folder / "plan.json"
    if folder.is_dir() and not any(_is_record(folder / name) for name in (plan.name, PREDICTION_RECORD, MAP_RECORD)):
        names = sorted(path.name for path in folder.iterdir())
        others = [name for name in names if not is_of_system(name) and not is_unpacked(name)]
        if others:
            raise StudyError(
                f"The folder {folder} of --output has files, and is not the folder of a prediction or map.",
                found=", ".join(others[:5]) + (", …" if len(others) > 5 else ""),
                expected=f"a new or empty folder, or one with {PREDICTION_RECORD}, {MAP_RECORD} or {plan.name}",
                remedy="name another folder after --output",
            )
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "writes results to"):
        yield plan


def _is_record(path: Path) -> bool:
    """Return whether a file is the plan or the record of a prediction or map, and not one of this name by somebody."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(content, dict) and not _KEYS_OF_RECORDS.isdisjoint(content)
    return False


def say_warnings(record: Mapping[str, Any]) -> None:
    """Say what may be wrong with the chips or windows that were looked at.

    Args:
        record: record of a plan.
    """
    for warning in record["looked_at"]["warnings"]:
        print(warning, file=sys.stderr)


def a_folder(text: str) -> Path:
    """Return the path of a folder, which need not exist."""
    path = a_path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; name a folder for the results")
    if path.is_symlink() and not path.exists():
        raise argparse.ArgumentTypeError(f"{text} is a link to {path.readlink()}, which does not exist")
    return path


def count(key: str) -> Callable[[str], int]:
    """Return a function that reads a whole number in the range of a key of the section `predict` of a configuration."""
    schema = load_schema()["properties"]["predict"]["properties"][key]

    def convert(text: str) -> int:
        if not schema["minimum"] <= int(text) <= schema["maximum"]:
            expected = f"a whole number from {schema['minimum']} to {schema['maximum']:,}"
            raise argparse.ArgumentTypeError(f"{text} is out of range; expected {expected}")
        return int(text)

    # Of another text than a number, argparse says that it is no valid value of this name.
    convert.__name__ = "whole number"
    return convert


def _share(text: str) -> float:
    if not 0.5 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.5 and 1")
    return float(text)
