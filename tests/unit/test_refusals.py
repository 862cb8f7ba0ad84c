"""What SLURM's words about a refused job mean; those without a mark are what Slurm 22.05 said on a real cluster."""

import errno
import os
import subprocess

import pytest

from execution.slurm.refusals import RAISED, read_refusal

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
        # On a site whose nodes have no configuration, while the name server does not answer.
        (
            "resolve_ctls_from_dns_srv: res_nsearch error: Host name lookup failure",
            "fetch_config: DNS SRV lookup failed",
            "fatal: Could not establish a configuration source",
        ),
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


@pytest.mark.parametrize(
    ("number", "tries", "remedy"),
    [
        (errno.EIO, 5, "disk"),
        (errno.ENOTCONN, 5, "disk"),
        (errno.EHOSTDOWN, 5, "disk"),
        (errno.EROFS, 0, "writable"),
        (errno.EACCES, 0, "writable"),
        (errno.ENOENT, 0, "deleted files"),
    ],
)
def test_errors_of_the_disk_at_a_submission(number, tries, remedy):
    refusal = read_refusal(f"{RAISED}{OSError(number, os.strerror(number), '.snakemake/slurm_logs/x')}")
    assert (refusal.tries, refusal.may_be_taken) == (tries, False)
    assert remedy in refusal.remedy


def test_a_right_that_another_program_lacks_is_told_in_its_words():
    refusal = read_refusal(by_plugin("cli_filter: [Errno 13] Permission denied: '/etc/site.conf'"))
    assert refusal.tries == 5
    assert "snakemake" not in refusal.remedy


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
        (
            (
                "resolve_ctls_from_dns_srv: res_nsearch error: Unknown host",
                "fetch_config: DNS SRV lookup failed",
                "fatal: Could not establish a configuration source",
            ),
            "SLURM_CONF",
        ),
        (("Batch job submission failed: Invalid generic resource (gres) specification",), "`gres`"),
        # Slurm's source.
        (("Batch job submission failed: Invalid node name specified",), "`sinfo -N`"),
        (("Batch job submission failed: Invalid feature specification",), "site"),
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


def raised(error):
    """The SLURM plugin's message about an error of its own."""
    return f"Job submission failed with exception: {error}"


@pytest.mark.parametrize(
    "message",
    [
        raised(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), ".snakemake/slurm_logs/group_runs")),
        raised(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), ".snakemake/slurm_logs/group_runs")),
        by_plugin("Batch job submission failed: No space left on device"),
        by_plugin("Batch job submission failed: Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_waited_for_and_said(message):
    refusal = read_refusal(message)
    assert (refusal.tries, refusal.may_be_taken) == (None, False)
    assert refusal.remedy.startswith("free space or raise the quota")


def test_a_command_that_is_too_long_asks_for_smaller_packs():
    with pytest.raises(OSError) as failed:
        subprocess.run(["/bin/sh", "-c", "x" * 131072], check=False)
    refusal = read_refusal(raised(failed.value))
    assert refusal.tries == 0
    assert refusal.remedy.startswith("use smaller packs")


def test_words_about_a_failure_without_an_error_or_an_id_may_be_of_a_job_that_was_taken():
    refusal = read_refusal(raised("SLURM job submission failed. The error message was Tip: submission failed? Ask us."))
    assert (refusal.reason, refusal.tries, refusal.may_be_taken) == ("Tip: submission failed? Ask us.", 5, True)


def test_an_sbatch_that_did_not_answer_is_started_again_and_its_job_looked_for():
    refusal = read_refusal(by_plugin("no answer of sbatch within 300 s"))
    assert (refusal.tries, refusal.may_be_taken) == (None, True)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        # Slurm's source.
        ("Batch job submission failed: Requested partition configuration not available now", "see what the partition"),
        ("lua: partition gpu needs a GPU: use --gres=gpu:1", "do what these words say"),
    ],
)
def test_words_that_may_mean_several_things_are_not_called_a_wrong_setting(line, remedy):
    assert read_refusal(by_plugin(line)).remedy.startswith(remedy)


def test_variables_of_the_shell_that_sbatch_follows_are_named(monkeypatch):
    monkeypatch.setenv("SBATCH_QOS", "long")
    monkeypatch.setenv("SBATCH_RESERVATION", "course")
    wrong, away = "Invalid qos specification", "Unable to contact slurm controller (connect failure)"
    assert "your shell sets SBATCH_QOS=long, SBATCH_RESERVATION=course" in read_refusal(by_plugin(wrong)).remedy
    assert "SBATCH" not in read_refusal(by_plugin(away)).remedy


@pytest.mark.parametrize("limit", ["QOSMaxWallDurationPerJobLimit", "AssocMaxCpuPerJobLimit", "QOSMaxGRESPerNode"])
def test_a_job_that_asks_for_more_than_one_job_may_have_is_not_submitted_again(limit):
    """With the flag DenyOnLimit of a QOS; a limit on the number of jobs, which has the same last line, passes."""
    refusal = read_refusal(by_plugin(limit, f"Batch job submission failed: {POLICY}"))
    assert refusal.tries == 0
    assert "smaller packs" in refusal.remedy
    assert "larger packs" not in refusal.remedy


def test_a_deleted_folder_of_snakemake_is_no_wrong_setting_of_the_site():
    """As after `rm -rf .snakemake` while jobs wait; the next start makes it again."""
    error = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/p/.snakemake/tmp.1/snakejob.runs.2.waitforfilesfile.txt")
    refusal = read_refusal(raised(error))
    assert refusal.tries == 0
    assert refusal.remedy.startswith("start the study again")


def test_a_missing_program_in_an_environment_of_that_name_is_no_deleted_folder():
    error = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/home/ada/.snakemake-env/bin/sbatch")
    assert "deleted" not in read_refusal(raised(error)).remedy


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_an_error_of_the_disk_in_the_plugin_itself_may_pass(number):
    error = OSError(number, os.strerror(number), "/shared/.snakemake/slurm_logs")
    refusal = read_refusal(f"Job submission failed with exception: {error}")
    assert refusal.tries
    assert "disk" in refusal.remedy
