"""What a dry run (`snakemake -n`) shows: a summary of the study, in place of a list of all jobs and their files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from execution.start.refusals_of_start import end_at_study_error
from execution.start.run_status import Run
from execution.start.terminal import terminal_handlers
from terralucas.data.retrieval.sources import archive_name

_JOB_EVENTS = (LogEvent.JOB_INFO, LogEvent.GROUP_INFO, LogEvent.SHELLCMD)
_NETWORK_SOURCES = ("gdrive", "url")


class HideJobs(logging.Filter):
    """Hides the jobs that Snakemake lists one by one, and the table of their numbers where it is shown again."""

    def __init__(self) -> None:
        super().__init__()
        self._was_table_shown = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            is_first, self._was_table_shown = not self._was_table_shown, True
            return is_first
        if event is None and isinstance(record.msg, str):
            record.msg = record.msg.replace(
                "(check individual jobs above for details)", "(`snakemake -n --quiet host` shows those of each job)"
            )
        return event not in _JOB_EVENTS


def hide_jobs(workflow: Any) -> None:
    """Let Snakemake's terminal show no jobs, unless the user asks for them.

    `--verbose`, and a --quiet that does not name `reason` as that of profiles/default, show every job.
    """
    settings = workflow.output_settings
    if not settings.verbose and Quietness.REASON in (settings.quiet or ()):
        for handler in terminal_handlers(workflow.logger_manager.logger):
            handler.addFilter(HideJobs())


def end_dry_run(workflow: Any, check: Callable[[], None], show: Callable[[], None]) -> None:
    """Show the summary of a dry run, or end it with status 1 if the start itself would be refused.

    Args:
        workflow: Snakemake's.
        check: raises a StudyError where a start would.
        show: prints the summary.
    """
    # Snakemake makes the scheduler when it knows all jobs; before that an error ended it, which it has shown.
    if workflow.scheduler is None:
        return
    end_at_study_error(check)
    show()


def runs_section(runs: Sequence[Run], planned: Collection[Run], there: Collection[Run]) -> list[str]:
    """How many runs are to do and finished, in all and for each backbone, loss and decoder.

    Args:
        runs: of the study, in the order of its grid.
        planned: those that would be done.
        there: those whose results are there; they are finished unless they are planned.
    """
    finished = [run for run in runs if run in there and run not in planned]
    again = [run for run in planned if run in there]
    others = len(runs) - len(planned) - len(finished)
    counts = [f"{len(planned)} to do", f"{len(finished)} finished"]
    if again:
        counts[0] += f" ({len(again)} finished, each kept if its settings, data and code prove unchanged)"
    if others:
        counts.append(f"{others} not asked for")
    rows = [("backbone", "loss", "decoder", "seeds to do", "seeds finished")]
    to_do, done = (Counter(run[:3] for run in group) for group in (planned, finished))
    for recipe in dict.fromkeys(run[:3] for run in runs):
        if to_do[recipe] or done[recipe]:
            rows.append((*recipe, str(to_do[recipe]), str(done[recipe])))
    return [f"Runs: {', '.join(counts)}", *(_table(rows) if len(rows) > 1 else [])]


def downloads_section(
    sources: Sequence[Mapping[str, Any]], chips: Path, weights: Mapping[str, Mapping[str, Any]], cache: Path
) -> list[str]:
    """What would be downloaded, from where and to where.

    Args:
        sources: of the chips, tried in turn, without secrets; none where the chips are not to be retrieved.
        chips: folder of the downloaded chips.
        weights: settings of the weights that are to be fetched, by backbone.
        cache: folder of the downloaded weights, in the layout of the Hugging Face library.
    """
    rows = [("chips", text) for text in _chips_downloads(sources, chips)]
    for backbone, setting in weights.items():
        if setting["source"] == "huggingface":
            rows.append((f"weights of {backbone}", _weights_download(setting, cache)))
    return ["Downloads:", *_table(rows)] if rows else ["Downloads: none"]


def results_section(folder: str, files: Mapping[str, Sequence[str]], planned: Collection[str]) -> list[str]:
    """Which results are there.

    Args:
        folder: of the study.
        files: paths by what they are called.
        planned: paths that would be made.
    """
    return [f"Results in {folder}:", *_table([(name, _state(paths, planned)) for name, paths in files.items()])]


def _chips_downloads(sources: Sequence[Mapping[str, Any]], folder: Path) -> Iterable[str]:
    # What is downloaded has its final name only when it is whole.
    for number, source in enumerate(sources):
        if source["type"] not in _NETWORK_SOURCES:
            continue
        origin = f"file {source['id']} of Google Drive" if source["type"] == "gdrive" else source["url"]
        condition = ", if the sources before it fail" if number else ""
        kept = Path(folder, archive_name(dict(source))).is_file()
        yield f"{origin}: already in {folder}" if kept else f"{origin}, to {folder}{condition}"


def _weights_download(setting: Mapping[str, Any], cache: Path) -> str:
    from huggingface_hub import try_to_load_from_cache

    repo, filename, revision = setting["repo"], setting["filename"], setting["revision"]
    origin = f"{repo}/{filename} of the Hugging Face hub"
    kept = try_to_load_from_cache(repo, filename, cache_dir=cache, revision=revision)
    return f"{origin}: already in {cache}" if isinstance(kept, str) else f"{origin}, to {cache}"


def _state(paths: Sequence[str], planned: Collection[str]) -> str:
    there = [path for path in paths if Path(path).is_file()]
    again = sum(path in planned for path in there)
    if len(paths) == 1:
        return ("there, would be made again" if again else "there") if there else "not there"
    return f"{len(there)} of {len(paths)} there" + (f", {again} would be made again" if again else "")


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [f"  {line.rstrip()}" for line in lines]
