# The script of a rule, and what Snakemake compares of its code and parameters.
from terralucas.codebase import Fingerprints

FINGERPRINTS = Fingerprints(Path(".snakemake/code_fingerprints.json"))


def without_rerun(value):
    """Return a parameter whose changes do not rerun jobs: Snakemake does not compare functions of the input."""
    return lambda wildcards, input: value


def script_path(rule_name):
    """Return the path of the script of a rule, for the directive `script:`."""
    return str(SCRIPTS / f"{rule_name}.py")


def code_fingerprint(rule_name):
    """Return a fingerprint of the code of a rule, as a parameter that Snakemake compares.

    Changes of comments, docstrings or layout do not change the fingerprint, and so do not rerun jobs.
    """
    return lambda wildcards: FINGERPRINTS.of(SCRIPTS / f"{rule_name}.py")


def shared_code_fingerprint(rule_name, other):
    """Return a fingerprint of the code that the scripts of two rules share."""
    return lambda wildcards: FINGERPRINTS.of(SCRIPTS / f"{rule_name}.py", SCRIPTS / f"{other}.py")
