"""A server that speaks the file protocol of the Hugging Face hub, and `obtain` in a process of its own against it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from helpers.paths import SCRIPTS

COMMIT = "a" * 40


@dataclass
class HubServer:
    """A large file on the hub: the repository's address redirects to one of a storage host, as the real hub does.

    Attributes:
        content: of the file.
        status: answered by the hub; headers that go with it are in `headers`.
        etag: SHA-256 that the hub records; that of the content unless set.
        page: a web page that answers in place of the hub (`at_hub`) or of the storage host.
        cut: connections that bring the file end after this many bytes.
        seen: method, path and Range of all requests, and whether they carried a token.
    """

    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    page: bytes | None = None
    at_hub: bool = True
    cut: int | None = None
    seen: list[tuple[str, str, str | None, bool]] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def downloads(self) -> list[str | None]:
        """The Range of each request for the file itself."""
        return [wanted for method, path, wanted, _ in self.seen if method == "GET" and path.startswith("/storage")]


@contextmanager
def serving(content: bytes):
    """A `HubServer` while it lasts."""
    hub = HubServer(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        hub, wanted = self.hub, self.headers.get("Range")
        if "/api/" in self.path:
            # The library asks for more than files, and does without.
            self._send(404, {}, b"")
            return
        hub.seen.append((self.command, self.path, wanted, "Authorization" in self.headers))
        at_hub = not self.path.startswith("/storage")
        if hub.page is not None and at_hub == hub.at_hub:
            self._send(200, {"Content-Type": "text/html"}, hub.page)
        elif not at_hub:
            self._send_file(wanted)
        elif hub.status != 200:
            self._send(hub.status, hub.headers, b"")
        else:
            headers = {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{hub.etag or hashlib.sha256(hub.content).hexdigest()}"',
                "X-Linked-Size": str(len(hub.content)),
                # Another host than the hub's, by its name.
                "Location": f"http://localhost:{hub.port}/storage/signed",
            }
            self._send(302, headers, b"")

    def _send_file(self, wanted):
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        body, headers = self.hub.content[start:], {}
        if wanted:
            size = len(self.hub.content)
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._send(206 if wanted else 200, headers, body, self.hub.cut)

    def _send(self, status, headers, body, cut=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])

    def log_message(self, *arguments):
        pass


def start(
    endpoint: str,
    cache: Path,
    *,
    sha256=None,
    revision="main",
    earlier=None,
    prelude="",
    stderr=subprocess.PIPE,
    **variables,
):
    """`obtain` in a process of its own: the hub's address is read when its library is imported."""
    weights = {
        "source": "huggingface", "repo": "org/model", "filename": "model.pt", "revision": revision, "sha256": sha256,
    }  # fmt: skip
    code = (
        "import json, time\nfrom pathlib import Path\nfrom terralucas.backbones.weights import obtain\n"
        "time.sleep = lambda seconds: None  # no waiting between attempts\n"
        f"{prelude}\nprint(json.dumps(obtain({weights!r}, Path({str(cache)!r}), {earlier!r})))"
    )
    environment = {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_ETAG_TIMEOUT": "2",
        "PATH": os.environ["PATH"],
        "OMP_NUM_THREADS": "1",
    }
    environment |= {"PYTHONPATH": str(SCRIPTS), "HOME": str(cache), **variables}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
    )


def fetch(endpoint: str, cache: Path, **options):
    """What `start` ends with: its output and errors."""
    process = start(endpoint, cache, **options)
    return process.communicate()
