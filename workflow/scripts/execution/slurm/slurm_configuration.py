"""Keeps SLURM's configuration for a study that is started inside a SLURM job."""

from __future__ import annotations

import os
import sys

# Where clients of SLURM find its configuration, and which cluster the user chose; SLURM sets neither for a job.
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")


def keep_configuration() -> None:
    """Let the SLURM plugin keep two variables when it removes those of the job that Snakemake runs in.

    The plugin removes them before it calls SLURM for the first time, so that its jobs do not inherit the limits of this
    one. Without SLURM_CONF, SLURM's commands would then find no configuration, or that of another cluster. Call it
    before the plugin is used; Snakemake imports all installed plugins before it reads the Snakefile.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    remove = getattr(plugin, "delete_slurm_environment", None)
    if plugin is None or remove is None:
        return

    def remove_others() -> None:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        remove()
        os.environ.update(kept)

    plugin.delete_slurm_environment = remove_others  # type: ignore[attr-defined]
