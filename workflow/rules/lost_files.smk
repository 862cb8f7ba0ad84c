# Finished results of which files are gone that no rule names.
from terralucas.study.lost_files import (
    lost_of_explanation,
    lost_of_export,
    lost_of_prediction,
    lost_of_selection,
    own_words_in_export,
)


def made_again_if_lost(output, find_lost, *arguments, find_own=lambda *_: None):
    """Return a function that adds no input to a rule, but lets its job run if files of its output are lost.

    Snakemake misses files that a rule names, and looks in no folder. It calls the function when it plans the job, before
    it decides what is to be done. What a user has written in a folder (`find_own`) is not deleted with the rest.
    """

    def look(wildcards):
        lost = find_lost(*arguments) if workflow.is_main_process else []
        if not lost or output in workflow.dag.forcefiles:
            return []
        found = f"{output} ({', '.join(lost[:4])}{f' and {len(lost) - 4} more' if len(lost) > 4 else ''})"
        if own := find_own(*arguments):
            workflow.logger_manager.logger.warning(
                f"Files are gone or have changed, and are not made again, because {own} there was changed: {found}. To "
                f"make them again, move {own} to another place and delete the folder"
            )
            return []
        # Where Snakemake itself puts the outputs of jobs that were killed.
        workflow.dag.forcefiles.add(output)
        workflow.logger_manager.logger.info(f"Made again, because files are gone or have changed: {found}")
        return []

    return look
