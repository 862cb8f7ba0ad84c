"""Debian's packages for tests that need more than Python's."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


class PackageError(RuntimeError):
    """A package is not there and cannot be installed."""


def install(packages: Sequence[str]) -> None:
    """Install packages, without starting their daemons.

    Raises:
        PackageError: this is not root, or there is no apt-get, or it fails.
    """
    wanted = ", ".join(packages)
    if os.geteuid() != 0:
        raise PackageError(f"these packages are not installed: {wanted}; installing them needs root")
    if not shutil.which("apt-get"):
        raise PackageError(f"these packages are not installed: {wanted}; and there is no apt-get")
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    # Packages ask this program whether they may start their daemons.
    policy = Path("/usr/sbin/policy-rc.d")
    # Tests run side by side; the policy of one must outlast its own installation alone.
    with (Path(tempfile.gettempdir()) / "terralucas-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        own_policy = not policy.exists()
        if own_policy:
            policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
            policy.chmod(0o755)
        try:
            for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *packages]):
                done = subprocess.run(
                    command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, text=True
                )
        finally:
            if own_policy:
                policy.unlink()
    if done.returncode != 0:
        raise PackageError(f"apt-get could not install {wanted}: {done.stderr.strip()[-2000:]}")
