# The script of a rule, and what Snakemake compares of its code and parameters.
from terralucas.codebase import KEPT, Fingerprints

FINGERPRINTS = Fingerprints(KEPT)
# The scripts of which rules ask for a fingerprint: of one, or of what two have in common.
FINGERPRINTED = []


def without_rerun(value):
    """Return a parameter whose changes do not rerun jobs: Snakemake does not compare functions of the input."""
    return lambda wildcards, input: value


def script_path(rule_name):
    """Return the path of the script of a rule, for the directive `script:`."""
    return str(SCRIPTS / f"{rule_name}.py")


def code_fingerprint(*rule_names):
    """Return a fingerprint of the code of a rule, or of that which several share, as a parameter that Snakemake compares.

    Changes of comments, docstrings or layout do not change the fingerprint, and so do not rerun jobs.
    """
    if rule_names not in FINGERPRINTED:
        FINGERPRINTED.append(rule_names)
    return lambda wildcards: FINGERPRINTS.of(*(SCRIPTS / f"{name}.py" for name in rule_names))


def code_of_start():
    """Return all fingerprints of this start, by the names of the rules; jobs compare them with the code they would run."""
    return {" ".join(names): code_fingerprint(*names)(None) for names in FINGERPRINTED}
