"""Commands of this project that messages advise."""

# Writes files again with other bands, on another grid or without tags of scale: terralucas.data.rewrite.
REWRITE = "PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite"
