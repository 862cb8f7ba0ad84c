"""What SLURM's words about a refused job mean; those without a mark are what Slurm 22.05 said on a real cluster."""

import pytest

from _refusals import read_refusal

POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def by_plugin(*lines):
    """The SLURM plugin's message about an sbatch that failed."""
    said = "\n".join(f"sbatch: error: {line}" for line in lines)
    return (
        f"SLURM sbatch failed. The error message was '{said}'.\n    sbatch call:\n        sbatch -p gpu --timed out\n"
    )


@pytest.mark.parametrize(
    "lines",
    [
        ("QOSMaxSubmitJobPerUserLimit", f"Batch job submission failed: {POLICY}"),
        # Slurm's source.
        ("AssocGrpSubmitJobsLimit", f"Batch job submission failed: {POLICY}"),
        ("Batch job submission failed: Required partition not available (inactive or drain)",),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)",),
        # Slurm's source.
        ("Batch job submission failed: Socket timed out on send/recv operation",),
        (
            'Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory',
            "Batch job submission failed: Protocol authentication error",
        ),
    ],
)
def test_what_passes_is_tried_until_it_works(lines):
    refusal = read_refusal(by_plugin(*lines))
    assert refusal.tries is None
    assert refusal.reason == "; ".join(lines)


def test_a_limit_on_jobs_names_the_key_of_the_profile():
    assert "fewer `jobs`" in read_refusal(by_plugin("QOSMaxSubmitJobPerUserLimit", POLICY)).remedy


def test_only_a_lost_answer_may_be_of_a_job_that_was_taken():
    lost = read_refusal(by_plugin("Batch job submission failed: Socket timed out on send/recv operation"))
    refused = read_refusal(by_plugin("Batch job submission failed: Required partition not available"))
    # sbatch, or a filter of the site, may fail after SLURM has taken the job.
    unknown = read_refusal(by_plugin("cli_filter: accounting hook failed"))
    assert [each.may_be_taken for each in (lost, refused, unknown)] == [True, False, True]


@pytest.mark.parametrize(
    ("lines", "remedy"),
    [
        (
            ("invalid partition specified: none", "Batch job submission failed: Invalid partition name specified"),
            "site",
        ),
        (("Batch job submission failed: Invalid account or account/partition combination specified",), "site"),
        (("Batch job submission failed: Invalid qos specification",), "site"),
        (("Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",), "packs"),
        (
            (
                "Memory specification can not be satisfied",
                "Batch job submission failed: Requested node configuration is not available",
            ),
            "packs",
        ),
        # In a job of a site whose nodes have no configuration, without SLURM_CONF.
        (("DNS SRV lookup failed", "fatal: Could not establish a configuration source"), "SLURM_CONF"),
        (("Batch job submission failed: Invalid generic resource (gres) specification",), "`gres`"),
    ],
)
def test_what_lasts_is_not_tried_again(lines, remedy):
    refusal = read_refusal(by_plugin(*lines))
    assert refusal.tries == 0
    assert remedy in refusal.remedy


def test_what_the_plugin_itself_finds_wrong_is_not_tried_again():
    said = "The given account nix appears to be invalid. Available accounts:\nlab"
    refusal = read_refusal(f"Job submission failed with exception: {said}")
    assert refusal.tries == 0
    assert refusal.reason == "The given account nix appears to be invalid. Available accounts:; lab"


@pytest.mark.parametrize("lines", [("Our site says no.",), (f"Batch job submission failed: {POLICY}",)])
def test_what_is_not_known_is_tried_a_few_times(lines):
    assert read_refusal(by_plugin(*lines)).tries == 5
