"""The core of the TerraMind-LUCAS study: everything that does not know Snakemake."""

__version__ = "0.1.0"
