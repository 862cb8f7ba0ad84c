"""Keeps SLURM's configuration for a study that is started inside a SLURM job."""

from __future__ import annotations

import os
import sys

# Where clients of SLURM find its configuration; it says nothing about the job that they run in.
_CONFIGURATION = "SLURM_CONF"


def keep_configuration() -> None:
    """Let the SLURM plugin keep SLURM_CONF when it removes the other variables of the job that Snakemake runs in.

    The plugin removes them before it calls SLURM for the first time, so that its jobs do not inherit the limits of this
    one. Without SLURM_CONF, SLURM's commands would then find no configuration, or that of another cluster. Call it
    before the plugin is used; Snakemake imports all installed plugins before it reads the Snakefile.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    remove = getattr(plugin, "delete_slurm_environment", None)
    if plugin is None or remove is None:
        return

    def remove_others() -> None:
        kept = os.environ.get(_CONFIGURATION)
        remove()
        if kept is not None:
            os.environ[_CONFIGURATION] = kept

    plugin.delete_slurm_environment = remove_others  # type: ignore[attr-defined]
