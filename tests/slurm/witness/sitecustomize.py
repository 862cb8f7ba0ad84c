"""Python runs this by itself where it finds it on PYTHONPATH: every script of a rule leaves lines about itself.

At its end: what the process was given (Slurm job, GPUs, network interfaces), whether it was forked, and whether the
Hugging Face hub's library, if loaded, is offline. At once: each internet connection and look-up of a name by its
Python code or by a worker it forked. A script is a process of its own or is forked from the fork server.
"""

import atexit
import ctypes
import json
import multiprocessing.util
import os
import re
import socket
import sys
from pathlib import Path

EVENTS = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def write(**facts):
    with Path(os.environ["TERRALUCAS_WITNESS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"rule": rule(), "job": os.environ.get("SLURM_JOB_ID"), **facts}) + "\n")


def rule():
    """Snakemake runs a copy, named as the script of the rule. A forked script has its path as `sys.argv`."""
    found = SCRIPT.search(" ".join([*sys.orig_argv, *sys.argv]))
    return found[1] if found else "fork server"


def hear(event, arguments):
    if event not in EVENTS:
        return
    # A socket between processes of one machine is no network.
    if isinstance(arguments[0], socket.socket) and arguments[0].family not in (socket.AF_INET, socket.AF_INET6):
        return
    write(attempt=f"{event} {arguments[1:] if isinstance(arguments[0], socket.socket) else arguments}")


def testify():
    hub = sys.modules.get("huggingface_hub.constants")
    write(
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES"),
        forked=IS_FORK_SERVER,
        interfaces=sorted(name for _, name in socket.if_nameindex()),
        hub_offline=getattr(hub, "HF_HUB_OFFLINE", None),
    )


SCRIPT = re.compile(r"\.snakemake/scripts/tmp\w+\.(\w+)\.py(?: |$)")
IS_FORK_SERVER = "multiprocessing.forkserver" in " ".join(sys.orig_argv)
CLONE_NEWNET = 0x40000000

if SCRIPT.search(" ".join(sys.orig_argv)):
    sys.addaudithook(hear)
    atexit.register(testify)
elif IS_FORK_SERVER:
    sys.addaudithook(hear)
    # What is forked ends without the functions of `atexit`.
    multiprocessing.util.register_after_fork(
        hear, lambda _: multiprocessing.util.Finalize(None, testify, exitpriority=0)
    )
    if "TERRALUCAS_ISOLATE" in os.environ and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
