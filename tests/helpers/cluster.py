"""A real Slurm for tests, and for trying the profile: no systemd, no cgroups, GPUs that are only booked.

    PYTHONPATH=tests python -m helpers.cluster start FOLDER     prints what to export, so that sbatch, squeue and the
                                                                profile use it
    PYTHONPATH=tests python -m helpers.cluster stop FOLDER

Everything lies in FOLDER: configuration, keys, spool, logs. Clients find it by SLURM_CONF and PATH, which jobs inherit,
and its ports and its munge socket are its own. So it leaves /etc/slurm alone, meets no other Slurm of the machine, and
several can run side by side. It needs root (a slurmd that starts jobs does) and Debian's packages of Slurm. All its
nodes are this machine; with --accounting it has a database (slurmdbd, MariaDB), so that sacct answers and limits hold.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from helpers import debian

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge")
ACCOUNTING_PACKAGES = ("slurmdbd", "mariadb-server-core", "mariadb-client-core")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged")
# Where Debian puts daemons; not in everybody's PATH.
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
# In the environment of the daemons alone, so that `stop` finds them and what they started.
MARK = "TERRALUCAS_SLURM_FOLDER"
# Linux allows 107 bytes in the path of a socket.
LONGEST_FOLDER = 90

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
# Listen on the loopback alone.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits as long as credentials live, 120 s if nothing is said.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/logs/slurmctld.log
SlurmdLogFile={folder}/logs/slurmd.%n.log
# No cgroups and no pinning, which containers seldom allow.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
# There is nothing behind the GPUs; jobs that SLURM says to have one would refuse to run on a CPU.
TaskProlog={folder}/task_prolog
MailProg=/bin/true
{accounting}
# CPUs and memory are what is said below, not what the machine has: they are booked, never enforced.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Schedule at once; the usual cycles are of 30 and 60 s.
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=100000
PriorityType=priority/basic
KillWait=2
CompleteWait=0
# Ended jobs stay visible to `scontrol show job`, and to squeue asked for a job, longer than a test lasts.
MinJobAge=1800
# A job that no partition can ever run is refused instead of left pending.
EnforcePartLimits=ALL
JobRequeue=1
# A node comes back by itself where it was only out of reach; `node_down` lasts until `node_up`.
ReturnToService=1
GresTypes=gpu
# Jobs of `urgent` take the nodes of those of `requeued`, which SLURM starts again, and of `cancelled`, which are over.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=DEFAULT Nodes=ALL MaxTime=1-00:00:00 DefaultTime=00:10:00 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Default=YES
PartitionName=short MaxTime=00:01:00 DefaultTime=00:01:00
PartitionName=urgent PriorityTier=20
PartitionName=requeued PriorityTier=1 PreemptMode=REQUEUE
PartitionName=cancelled PriorityTier=1 PreemptMode=CANCEL
"""
NODE = """\
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} CoresPerSocket={cpus} RealMemory=64000 \
Gres=gpu:{gpus} State=UNKNOWN
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
# The socket of munge.
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,limits,qos
"""
DATABASE_DAEMON = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={accounting_port}
SlurmUser=root
LogFile={folder}/logs/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=root
StorageLoc=slurm
"""
# A QOS with room for one job of a user, which waits or runs.
NARROW = "narrow"


class ClusterError(RuntimeError):
    """The cluster, or one of its clients, does not do what it should."""


def available(accounting: bool = False) -> bool:
    """Whether a cluster can be started: Slurm's programs, and those of its database, are installed and this is root."""
    programs = PROGRAMS + ACCOUNTING_PROGRAMS * accounting
    return os.geteuid() == 0 and all(shutil.which(name, path=SEARCH_PATH) for name in programs)


def install(accounting: bool = False) -> None:
    """Install Debian's packages of Slurm, without starting their daemons.

    Raises:
        PackageError: they cannot be installed.
        ClusterError: they were, and do not bring all programs.
    """
    packages = PACKAGES + ACCOUNTING_PACKAGES * accounting
    debian.install(packages)
    if not available(accounting):
        raise ClusterError(f"{', '.join(packages)} are installed, and a program of theirs is not there")


def free_ports(count: int) -> list[int]:
    """TCP ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _program(name: str) -> str:
    """Path of one of Slurm's programs."""
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        raise ClusterError(f"{name} is not installed; Debian's packages are {' '.join(PACKAGES)}")
    return path


def _send(number: signal.Signals, processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


class Cluster:
    """One controller and some nodes, whose whole state lies in a folder.

    Args:
        folder: where everything goes; an object made later for the same folder is the same cluster.
        gpus: GPUs to book of each node; jobs see them in CUDA_VISIBLE_DEVICES, and there is nothing behind them.
        cpus: CPUs to book of each node, whatever the machine has.
        nodes: how many; n1, n2, and so on.
        accounting: whether there is a database.
    """

    def __init__(self, folder: Path, gpus: int = 2, cpus: int = 4, nodes: int = 1, accounting: bool = False) -> None:
        self.folder = folder.resolve()
        self.gpus = gpus
        self.cpus = cpus
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.accounting = accounting
        self.environment = {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": os.pathsep.join((str(self.folder / "bin"), os.environ.get("PATH", os.defpath))),
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs; does nothing to a cluster that runs.

        Raises:
            ClusterError: it does not come up; the message ends with the tails of the logs.
        """
        if self._processes():
            return
        if len(str(self.folder)) > LONGEST_FOLDER:
            raise ClusterError(f"{self.folder} is longer than {LONGEST_FOLDER} characters; sockets would not fit")
        try:
            self._configure()
            # Its own munged; --force because a folder for tests may be closed to other users.
            self._start_daemon(
                "munged", "--force", f"--socket={self.folder / 'munge.socket'}",
                *(f"--{kind}-file={self.folder / 'munge'}.{kind}" for kind in ("key", "seed", "pid")),
                f"--log-file={self.folder / 'logs' / 'munged.log'}",
            )  # fmt: skip
            if self.accounting:
                self._start_accounting()
            self.start_controller()
            for node in self.nodes:
                self._start_daemon("slurmd", "-N", node)
            self._wait("the nodes to take jobs", self._nodes_are_up, daemon="slurmd")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the daemons, the jobs and all that they started; does nothing to a cluster that does not run."""
        deadline = time.monotonic() + 30
        # Again until none is left, as a process may start another one meanwhile.
        while processes := self._processes():
            if time.monotonic() > deadline:
                raise self._error(f"these processes do not end: {processes}")
            _send(signal.SIGKILL, processes)
            time.sleep(0.05)

    def run(self, *command: str | Path | int, check: bool = True, timeout: float = 30) -> str:
        """Standard output of a Slurm client, e.g. `run("squeue", "-h")`.

        Raises:
            ClusterError: it fails, unless `check` is false.
            subprocess.TimeoutExpired: it lasts longer than `timeout` seconds.
        """
        done = subprocess.run(
            list(map(str, command)), env=os.environ | self.environment, capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode != 0:
            raise self._error(f"{' '.join(map(str, command))} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def jobs(self) -> list[int]:
        """Ids of the jobs that wait or run."""
        return sorted({int(line) for line in self.run("squeue", "-h", "-o", "%A").split()})

    def start_controller(self) -> None:
        """Start slurmctld, which goes on where the last one stopped, and wait until it answers."""
        self._start_daemon("slurmctld")
        self._wait("its answer", lambda: "is UP" in self.run("scontrol", "ping", check=False), daemon="slurmctld")

    def stop_controller(self) -> None:
        """End slurmctld as a site does, its state saved; running jobs go on."""
        self._end_controller(signal.SIGTERM)

    def kill_controller(self) -> None:
        """End slurmctld as a crash does: what happened since it saved its state, every few seconds, is forgotten."""
        self._end_controller(signal.SIGKILL)

    def restart_controller(self) -> None:
        self.stop_controller()
        self.start_controller()

    def node_down(self, reason: str, node: str = "n1") -> None:
        """Declare a node broken: its jobs end as NODE_FAIL, and no other starts."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", f"Reason={reason}")

    def node_up(self, node: str = "n1") -> None:
        """Let a node take jobs again."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self._wait("the nodes to take jobs", self._nodes_are_up, daemon="slurmd")

    def replace_client(self, name: str, script: str) -> None:
        """Put a shell script in the place of one of Slurm's clients; in it, {real} is the path of the client."""
        path = self.folder / "bin" / name
        # Whole or not at all: it may be called meanwhile.
        new = path.with_name(f".{name}")
        new.write_text("#!/bin/sh\n" + script.replace("{real}", _program(name)), encoding="utf-8")
        new.chmod(0o755)
        new.replace(path)

    def restore_client(self, name: str) -> None:
        """Undo replace_client."""
        (self.folder / "bin" / name).unlink(missing_ok=True)

    def suspend_accounting(self) -> None:
        """Let slurmdbd answer nothing until resume_accounting."""
        _send(signal.SIGSTOP, self._named("slurmdbd"))

    def resume_accounting(self) -> None:
        _send(signal.SIGCONT, self._named("slurmdbd"))

    def _start_accounting(self) -> None:
        """Start a database that trusts everybody on this machine, and Slurm's daemon before it."""
        data = self.folder / "database"
        made = subprocess.run(
            [_program("mariadb-install-db"), "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout[-2000:]
        with (self.folder / "logs" / "mariadbd.log").open("w", encoding="utf-8") as output:
            subprocess.Popen(
                [
                    _program("mariadbd"), "--no-defaults", "--user=root", f"--datadir={data}", "--skip-grant-tables",
                    "--bind-address=127.0.0.1", f"--port={self._database_port}", f"--socket={self.folder}/db.socket",
                    f"--pid-file={self.folder}/mariadbd.pid", "--innodb-buffer-pool-size=64M",
                    "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0",
                ],
                env=os.environ | {MARK: str(self.folder)}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self._wait("the database", lambda: (self.folder / "db.socket").exists(), daemon="mariadbd")
        self._start_daemon("slurmdbd")
        self._wait("slurmdbd", lambda: "Cluster" in self.run("sacctmgr", "list", "cluster", check=False), "slurmdbd")
        for what in (
            ("cluster", "test"), ("account", "lab", "cluster=test"),
            ("qos", NARROW, "set", "MaxSubmitJobsPerUser=1"),
            ("user", "root", "account=lab"),
        ):  # fmt: skip
            self.run("sacctmgr", "--immediate", "add", *what)
        self.run("sacctmgr", "--immediate", "modify", "user", "root", "set", f"qos+={NARROW}")

    def _configure(self) -> None:
        # A new cluster must not meet the jobs and keys of an earlier one.
        for name in ("state", "spool", "devices", "logs", "bin", "database"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(parents=True)
        for leftover in self.folder.glob("munge.*"):
            leftover.unlink()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        controller_port, accounting_port, self._database_port, *node_ports = free_ports(3 + len(self.nodes))
        host = socket.gethostname().split(".")[0]
        nodes = "".join(
            NODE.format(node=node, host=host, port=port, cpus=self.cpus, gpus=self.gpus)
            for node, port in zip(self.nodes, node_ports, strict=True)
        )
        no_accounting = "AccountingStorageType=accounting_storage/none"
        with_accounting = ACCOUNTING.format(folder=self.folder, accounting_port=accounting_port)
        accounting = with_accounting if self.accounting else no_accounting
        text = CONFIGURATION.format(
            folder=self.folder, host=host, controller_port=controller_port, nodes=nodes, accounting=accounting
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        prolog = self.folder / "task_prolog"
        prolog.write_text("#!/bin/sh\necho unset SLURM_JOB_GPUS\necho unset SLURM_GPUS_ON_NODE\n", encoding="utf-8")
        prolog.chmod(0o755)
        if self.accounting:
            daemon = self.folder / "slurmdbd.conf"
            daemon.touch(mode=0o600)
            daemon.write_text(
                DATABASE_DAEMON.format(
                    folder=self.folder, accounting_port=accounting_port, database_port=self._database_port
                ),
                encoding="utf-8",
            )
        lines = []
        for node in self.nodes:
            (self.folder / "spool" / node).mkdir()
            (self.folder / "devices" / node).mkdir()
            for number in range(self.gpus):
                # The numbers of /dev/null. The digit at the end becomes CUDA_VISIBLE_DEVICES.
                device = self.folder / "devices" / node / f"gpu{number}"
                os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
                lines.append(f"NodeName={node} Name=gpu File={device}\n")
        (self.folder / "gres.conf").write_text("".join(lines), encoding="utf-8")

    def _start_daemon(self, name: str, *arguments: str) -> None:
        """Run a program that puts itself into the background, once it has found nothing wrong."""
        # Not a pipe, which the daemon would hold open.
        with (self.folder / "logs" / f"{name}.start").open("w", encoding="utf-8") as output:
            done = subprocess.run(
                [_program(name), *arguments],
                env=os.environ | self.environment | {MARK: str(self.folder)},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=30,
            )
        if done.returncode != 0:
            raise self._error(f"{name} does not start")

    def _end_controller(self, number: signal.Signals) -> None:
        # slurmscriptd is a fork of slurmctld.
        names = ("slurmctld", "slurmscriptd")
        _send(number, self._named(*names))
        self._wait("the controller to end", lambda: not self._named(*names))

    def _named(self, *names: str) -> list[psutil.Process]:
        found = []
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() in names:
                    found.append(process)
        return found

    def _processes(self) -> list[psutil.Process]:
        """The daemons, the jobs' processes and their descendants; never this process or one it descends from."""
        configuration = os.fsencode(f"SLURM_CONF={self.environment['SLURM_CONF']}")
        mark = os.fsencode(f"{MARK}={self.folder}")
        found = set()
        for process in psutil.process_iter():
            try:
                # psutil's own reading ends where slurmstepd has written its title over the environment.
                environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                in_job = configuration in environment and any(each.startswith(b"SLURM_JOB_ID=") for each in environment)
                if in_job or mark in environment:
                    found |= {process, *process.children(recursive=True)}
            except (OSError, psutil.Error):  # it has ended meanwhile
                continue
        return list(found - {psutil.Process(), *psutil.Process().parents()})

    def _nodes_are_up(self) -> bool:
        states = self.run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%T", check=False).split()
        return len(states) == len(self.nodes) and set(states) <= {"idle", "mixed", "allocated", "completing"}

    def _wait(self, what: str, condition: Callable[[], bool], daemon: str | None = None) -> None:
        """Wait until `condition` holds, unless `daemon` ends."""
        started = seen = time.monotonic()
        while not condition():
            now = time.monotonic()
            if daemon and self._named(daemon):
                seen = now
            # A daemon that puts itself into the background is not to be seen for a moment.
            if daemon and now > seen + 2:
                raise self._error(f"{daemon} has ended")
            if now > started + 30:
                raise self._error(f"waited in vain for {what}")
            time.sleep(0.1)

    def _error(self, message: str) -> ClusterError:
        tails = [
            f"--- {path.name}\n" + "\n".join(path.read_text("utf-8", errors="replace").splitlines()[-15:])
            for path in sorted(self.folder.glob("logs/*"))
        ]
        return ClusterError("\n".join([message, *tails]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=4)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--accounting", action="store_true")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.folder, arguments.gpus, arguments.cpus, arguments.nodes, arguments.accounting)
    if arguments.action == "stop":
        cluster.stop()
        return
    if not available(arguments.accounting):
        packages = PACKAGES + ACCOUNTING_PACKAGES * arguments.accounting
        sys.exit(f"This needs root and Slurm: apt-get install {' '.join(packages)}")
    cluster.start()
    sys.stdout.write(f"export SLURM_CONF={cluster.environment['SLURM_CONF']} PATH={cluster.folder}/bin:$PATH\n")


if __name__ == "__main__":
    main()
