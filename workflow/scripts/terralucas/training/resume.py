"""The checkpoint beside a run that lets it go on after a kill."""

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
    """Saves and restores a run's state under a fingerprint of everything that decides its numbers.

    The file is the hex SHA-256 of the rest, then a torch file. A file that is damaged, or that another configuration,
    data or code wrote, is ignored: the run starts afresh.

    Args:
        path: of the file.
        fingerprint: of configuration, data and code.
        interval_s: least seconds between two saves.
    """

    def __init__(self, path: Path, fingerprint: str, interval_s: float) -> None:
        self.path, self.fingerprint, self.interval_s = path, fingerprint, interval_s
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether the interval since the last save has passed."""
        return time.monotonic() - self._saved_at >= self.interval_s

    def save(self, state: Mapping[str, Any]) -> None:
        """Save a state, whole or not at all."""
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": dict(state)}, buffer)
        # A view: the state of a tuned backbone takes gigabytes, of which one copy is enough.
        payload = buffer.getbuffer()
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(payload).hexdigest().encode())
            file.write(payload)
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None when there is none that fits."""
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
    """The end of the last whole epoch, from which alone a run can go on."""

    def __init__(self, resume_file: ResumeFile) -> None:
        self.resume_file = resume_file
        self.state: Mapping[str, Any] | None = None

    def reached(self, state: Mapping[str, Any], last: bool) -> None:
        """Remember a state, and save it if that is due.

        The end is always saved: a run that is started again with its pack, or that could not write, has its training.
        """
        self.state = state
        if last or self.resume_file.is_due():
            self.resume_file.save(state)


@contextmanager
def saving_last_epoch(resume_file: ResumeFile) -> Iterator[LastEpoch]:
    """Training, in which whatever ends it early, a signal or an error, saves the end of the last whole epoch first."""
    last_epoch = LastEpoch(resume_file)
    try:
        yield last_epoch
    except BaseException:
        if last_epoch.state is not None:
            try:
                resume_file.save(last_epoch.state)
            except OSError as error:
                # What ended training is to be told, and not this.
                logger.warning("%s cannot be saved: %s", resume_file.path, error)
        raise
