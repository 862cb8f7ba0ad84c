"""The checkpoint from which an interrupted run continues."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from terralucas.files import atomic_path

logger = logging.getLogger(__name__)

_DIGEST_BYTES = 64


class ResumeFile:
    """A file with the state of a run and a fingerprint of everything that decides the run's numbers.

    The file starts with a SHA-256 checksum in hexadecimal; a torch file with that checksum follows. A damaged file, and
    a file with another fingerprint, are ignored: the run then starts from the beginning.

    Args:
        path: path of the file.
        fingerprint: fingerprint of configuration, data and code.
        interval_s: shortest time between two saves, in seconds.
    """

    def __init__(self, path: Path, fingerprint: str, interval_s: float) -> None:
        self.path, self.fingerprint, self.interval_s = path, fingerprint, interval_s
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Return whether the last save is at least `interval_s` ago."""
        return time.monotonic() - self._saved_at >= self.interval_s

    def save(self, state: Mapping[str, Any]) -> None:
        """Save a state. If saving fails, the old file remains."""
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": dict(state)}, buffer)
        # A view and not a copy: the state of a tuned backbone takes gigabytes.
        payload = buffer.getbuffer()
        # Also of a job that another start cancels, whose own run goes on from here.
        with atomic_path(self.path, is_result=False) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(payload).hexdigest().encode())
            file.write(payload)
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None if there is no file, or it is damaged, or its fingerprint differs."""
        if not self.path.is_file():
            return None
        content = self.path.read_bytes()
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).hexdigest().encode() != digest:
            logger.warning("%s is damaged; starting afresh", self.path)
            return None
        saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        if saved["fingerprint"] != self.fingerprint:
            logger.warning("%s is of another configuration, data or code; starting afresh", self.path)
            return None
        return saved["state"]


class LastEpoch:
    """The state at the end of the last complete epoch; a run can continue from no other state."""

    def __init__(self, resume_file: ResumeFile) -> None:
        self.resume_file = resume_file
        self.state: Mapping[str, Any] | None = None

    def keep(self, state: Mapping[str, Any], is_final: bool) -> None:
        """Keep the state of a complete epoch, and save it if a save is due or the epoch is the final one.

        The final epoch is always saved. A run may be started again after its training, because its outputs could not be
        written or because another run of the same job failed; then it need not train again.

        Args:
            state: everything that the run needs to continue.
            is_final: whether training ends with this epoch.
        """
        self.state = state
        if is_final or self.resume_file.is_due():
            self.resume_file.save(state)


@contextmanager
def save_last_epoch_on_failure(resume_file: ResumeFile) -> Iterator[LastEpoch]:
    """Train in this context; on a signal or an error, save the state of the last complete epoch before stopping."""
    last_epoch = LastEpoch(resume_file)
    try:
        yield last_epoch
    except BaseException:
        if last_epoch.state is not None:
            try:
                resume_file.save(last_epoch.state)
            except OSError as error:
                # Only log this error, because the signal or error that ended training must reach the caller.
                logger.warning("%s cannot be saved: %s", resume_file.path, error)
        raise
