"""Python runs this by itself where it finds it on PYTHONPATH: every script of a rule leaves lines about itself.

At its end: what the process was given (Slurm job, GPUs, network interfaces), and whether the Hugging Face hub's
library, if loaded, is offline. At once: each internet connection and look-up of a name by its Python code or by a
worker it forked.
"""

import atexit
import json
import os
import re
import socket
import sys
from pathlib import Path

EVENTS = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def write(**facts):
    with Path(os.environ["TERRALUCAS_WITNESS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"rule": RULE, "job": os.environ.get("SLURM_JOB_ID"), **facts}) + "\n")


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
        interfaces=sorted(name for _, name in socket.if_nameindex()),
        hub_offline=getattr(hub, "HF_HUB_OFFLINE", None),
    )


# Snakemake runs a copy, named as the script of the rule.
SCRIPT = re.search(r"\.snakemake/scripts/tmp\w+\.(\w+)\.py$", " ".join(sys.orig_argv))
if SCRIPT:
    RULE = SCRIPT[1]
    sys.addaudithook(hear)
    atexit.register(testify)
