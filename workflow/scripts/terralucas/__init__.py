"""The core of the TerraMind-LUCAS study: everything that does not know Snakemake."""

from terralucas.shell_variables import ignore_shell_variables

__version__ = "0.1.0"

# Here, because every process imports the core before it imports rasterio or pyproj.
ignore_shell_variables()
