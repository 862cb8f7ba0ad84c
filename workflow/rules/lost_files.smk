# Finished results of which files are gone that no rule names.
from terralucas.study.lost_files import (
    lost_of_explanation,
    lost_of_export,
    lost_of_prediction,
    lost_of_selection,
)


def made_again_if_lost(output, find_lost, *arguments):
    """Return a function that adds no input to a rule, but lets its job run if files of its output are lost.

    Snakemake misses files that a rule names, and looks in no folder. It calls the function when it plans the job, before
    it decides what is to be done.
    """

    def look(wildcards):
        lost = find_lost(*arguments) if workflow.is_main_process else []
        if not lost or output in workflow.dag.forcefiles:
            return []
        found = f"{output} ({', '.join(lost[:4])}{f' and {len(lost) - 4} more' if len(lost) > 4 else ''})"
        # Where Snakemake itself puts the outputs of jobs that were killed.
        workflow.dag.forcefiles.add(output)
        workflow.logger_manager.logger.info(f"Made again, because files are gone or have changed: {found}")
        return []

    return look
