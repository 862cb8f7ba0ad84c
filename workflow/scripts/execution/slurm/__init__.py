"""SLURM: what is replaced in Snakemake's plugin, its commands, and what they answer."""
