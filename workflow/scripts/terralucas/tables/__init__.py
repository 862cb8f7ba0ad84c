"""The words and files that statistics and report share: names of scores, columns and states, tables as CSV."""
