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


def code_fingerprint(rule_name):
    """Return a fingerprint of the code of a rule, as a parameter that Snakemake compares.

    Changes of comments, docstrings or layout do not change the fingerprint, and so do not rerun jobs.
    """
    return fingerprint_of(rule_name)


def shared_code_fingerprint(rule_name, other):
    """Return a fingerprint of the code that the scripts of two rules share."""
    return fingerprint_of(rule_name, other)


def fingerprint_of(*rule_names):
    """Return a function of wildcards that gives the fingerprint of the code that the scripts of these rules share."""
    if rule_names not in FINGERPRINTED:
        FINGERPRINTED.append(rule_names)
    return lambda wildcards: FINGERPRINTS.of(*(SCRIPTS / f"{name}.py" for name in rule_names))


def code_of_start():
    """Return all fingerprints of this start, by the names of the rules; jobs compare them with the code they would run."""
    return {" ".join(names): fingerprint_of(*names)(None) for names in FINGERPRINTED}
