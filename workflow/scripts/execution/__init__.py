"""What stands around Snakemake: the start and end of a study, its jobs, its records, clusters and SLURM."""
