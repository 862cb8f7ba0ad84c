"""The cluster itself: it stands beside others, outlives its controller, and leaves nothing behind; nodes, limits and
preemption are Slurm's own."""

import time
from pathlib import Path

import psutil
import pytest

from helpers import cluster as cluster_module
from helpers.cluster import NARROW, Cluster, ClusterError

pytestmark = pytest.mark.slurm


@pytest.fixture
def other(cluster, tmp_path):
    """A cluster beside the one of the session."""
    with Cluster(tmp_path / "other", gpus=1, cpus=1) as running:
        yield running


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def submit(cluster, script):
    return int(cluster.run("sbatch", "--parsable", "--gpus=1", "-o", "/dev/null", "--wrap", script))


def state(cluster, job):
    return cluster.run("squeue", "-h", "-j", job, "-o", "%T").strip()


def test_it_stops_what_its_jobs_started_and_leaves_its_neighbour_alone(cluster, other):
    pid_file = other.folder / "pid"
    submit(other, f"setsid sh -c 'echo $$ > {pid_file}; sleep 1000' & sleep 1000")
    wait_until(lambda: pid_file.is_file() and pid_file.read_text())
    assert len(other.jobs()) == 1
    assert cluster.jobs() == []
    other.stop()
    escaped = int(pid_file.read_text())
    assert not psutil.pid_exists(escaped) or psutil.Process(escaped).status() == psutil.STATUS_ZOMBIE
    assert "is UP" in cluster.run("scontrol", "ping")


def test_jobs_outlive_a_crash_of_the_controller(other):
    job = submit(other, "sleep 1000")
    wait_until(lambda: state(other, job) == "RUNNING")
    other.restart_controller()  # which saves that the job runs
    other.kill_controller()
    assert "is DOWN" in other.run("scontrol", "ping", check=False)
    other.start_controller()
    assert state(other, job) == "RUNNING"


def test_a_broken_node_puts_its_job_back_into_the_queue_until_it_is_up(other):
    job = submit(other, "sleep 1000")
    wait_until(lambda: state(other, job) == "RUNNING")
    other.node_down("broken fan")
    assert "broken fan" in other.run("sinfo", "-R")

    wait_until(lambda: state(other, job) == "PENDING")
    other.node_up()
    wait_until(lambda: state(other, job) == "RUNNING")


def test_nodes_of_one_machine_have_their_own_gpus(site):
    jobs = [submit(site, "sleep 1000") for _ in range(3)]
    wait_until(lambda: [state(site, job) for job in jobs] == ["RUNNING", "RUNNING", "PENDING"])
    assert site.run("squeue", "-h", "-t", "R", "-o", "%N").split() == ["n1", "n2"]
    site.run("scancel", *jobs)
    wait_until(lambda: site.jobs() == [])


def test_a_database_knows_ended_jobs_and_enforces_limits(site):
    job = int(site.run("sbatch", "--parsable", "--qos", NARROW, "-o", "/dev/null", "--wrap", "sleep 1000"))
    with pytest.raises(ClusterError, match="QOSMaxSubmitJobPerUserLimit"):
        site.run("sbatch", "--qos", NARROW, "-o", "/dev/null", "--wrap", "true")
    site.run("scancel", job)
    wait_until(lambda: "CANCELLED by 0" in site.run("sacct", "-X", "-P", "-n", "-o", "State", "-j", job))


@pytest.mark.parametrize(("partition", "becomes"), [("requeued", "PENDING"), ("cancelled", "PREEMPTED")])
def test_partitions_preempt_in_both_modes(site, partition, becomes):
    job = int(
        site.run("sbatch", "--parsable", "-p", partition, "--requeue", "-N2", "-o", "/dev/null", "--wrap", "sleep 1000")
    )
    wait_until(lambda: state(site, job) == "RUNNING")
    urgent = int(site.run("sbatch", "--parsable", "-p", "urgent", "-N2", "-o", "/dev/null", "--wrap", "sleep 1000"))
    wait_until(lambda: becomes in site.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T"))
    site.run("scancel", job, urgent)
    wait_until(lambda: site.jobs() == [])


def test_a_failed_start_shows_the_logs_and_leaves_nothing(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONFIGURATION", cluster_module.CONFIGURATION + "SelectType=select/none_such\n")
    broken = Cluster(tmp_path)
    with pytest.raises(ClusterError, match="none_such"):
        broken.start()
    mark = f"{cluster_module.MARK}={tmp_path}".encode()
    left = [pid for pid in psutil.pids() if mark in environment_of(pid)]
    assert left == []


def environment_of(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
