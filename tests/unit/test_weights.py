"""Weights: checked files, and the Hugging Face hub's protocol on a local server."""

import hashlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from terralucas.errors import StudyError
from terralucas.weights import obtain

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """What hf_hub_download asks a hub: HEAD and GET of /<repo>/resolve/<revision>/<file>."""

    status, etag = 200, DIGEST

    def do_HEAD(self):
        self._answer(body=b"")

    def do_GET(self):
        self._answer(body=CONTENT)

    def _answer(self, body):
        self.send_response(type(self).status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{type(self).etag}"')
        self.send_header("Content-Length", str(len(CONTENT) if type(self).status == 200 else 0))
        self.end_headers()
        if type(self).status == 200:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (Hub,), {}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(endpoint, cache, sha256=None, offline=False):
    """Run `obtain` in a process of its own: the hub's address is read when its library is imported."""
    code = (
        "import json, time\nfrom pathlib import Path\nfrom terralucas.weights import obtain\n"
        "time.sleep = lambda seconds: None  # no waiting between attempts\n"
        "weights = {'source': 'huggingface', 'repo': 'org/model', 'filename': 'model.pt', 'revision': 'main'}\n"
        f"print(json.dumps(obtain(weights | {{'sha256': {sha256!r}}}, Path({str(cache)!r}))))"
    )
    environment = {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "2", "PATH": "/usr/bin"}
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment | {"PYTHONPATH": str(SCRIPTS), "HOME": str(cache)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def address(server):
    return f"http://127.0.0.1:{server.server_port}"


def test_fetches_checks_and_records(hub, tmp_path):
    import json

    done = fetch(address(hub), tmp_path)
    record = json.loads(done.stdout.strip().splitlines()[-1])
    assert Path(record["path"]).read_bytes() == CONTENT
    assert record["sha256"] == DIGEST
    assert record["commit"] == COMMIT
    hub.shutdown()
    again = fetch(address(hub), tmp_path, offline=True)
    assert json.loads(again.stdout.strip().splitlines()[-1]) == record, "offline afterwards"


def test_a_file_that_is_not_what_the_hub_records_is_refused(hub, tmp_path):
    hub.RequestHandlerClass.etag = "b" * 64
    done = fetch(address(hub), tmp_path)
    assert "are not the expected ones" in done.stderr
    assert DIGEST in done.stderr


@pytest.mark.parametrize("status", [401, 404, 429, 503])
def test_errors_of_the_hub_are_put_into_words(hub, tmp_path, status):
    hub.RequestHandlerClass.status = status
    done = fetch(address(hub), tmp_path)
    assert "could not be fetched from the Hugging Face hub" in done.stderr
    assert "source: file" in done.stderr


def test_no_network(tmp_path):
    done = fetch("http://127.0.0.1:9", tmp_path)
    assert "could not be fetched from the Hugging Face hub" in done.stderr
    assert "check the network" in done.stderr


def test_files_are_checked(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(CONTENT)
    record = obtain({"source": "file", "path": str(path), "sha256": DIGEST}, tmp_path)
    assert record == {"source": "file", "path": str(path), "sha256": DIGEST, "size_bytes": len(CONTENT)}
    with pytest.raises(StudyError, match="not the expected ones"):
        obtain({"source": "file", "path": str(path), "sha256": "c" * 64}, tmp_path)
    with pytest.raises(StudyError, match="not there"):
        obtain({"source": "file", "path": str(tmp_path / "none.pt"), "sha256": None}, tmp_path)


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pt").write_bytes(CONTENT)
    assert obtain({"source": "file", "path": "~/w.pt", "sha256": None}, tmp_path)["path"] == str(tmp_path / "w.pt")


def test_random_weights_need_nothing(tmp_path):
    assert obtain({"source": "random", "seed": 3}, tmp_path)["seed"] == 3
