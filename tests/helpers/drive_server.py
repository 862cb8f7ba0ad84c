"""A web server on localhost that answers like Google Drive, for tests of downloads."""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

CONFIRM_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="download-form" action="https://drive.usercontent.google.com/download" method="get"><input type="hidden" \
name="id" value="{id}"><input type="hidden" name="export" value="download"><input type="hidden" name="confirm" \
value="t"><input type="submit" value="Download anyway"></form></body></html>"""
QUOTA_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></body></html>"""
SIGN_IN_PAGE = "<!doctype html><html><head><title>Google Drive: Sign-in</title></head><body>Email</body></html>"
NOT_FOUND_PAGE = "<!doctype html><html><head><title>Error 404 (Not Found)!!1</title></head><body></body></html>"


@dataclass
class Served:
    """What the server does for one file.

    Attributes:
        content: the bytes of the file.
        confirm: the first answer is the page that warns of large files, as Drive does from 100 MB on.
        accepts_confirmation: whether the file follows that page.
        page: a web page that comes instead of the file.
        page_as_attachment: the page comes under the name of a file, as if it were the file.
        sign_in: Drive redirects to the page where one signs in.
        status: HTTP status of the answer.
        ranges: whether the server honours range requests.
        etag: names the version of the content; None: nothing does.
        checks_version: whether the server honours If-Range.
        cuts: for each transfer in turn, after how many bytes the connection is cut; None or the end: not at all.
        hang: the server never answers.
        then: what the server has under this name after the first transfer.
    """

    content: bytes = b""
    confirm: bool = False
    accepts_confirmation: bool = True
    page: str | None = None
    page_as_attachment: bool = False
    sign_in: bool = False
    status: int = 200
    ranges: bool = True
    etag: str | None = '"version-1"'
    checks_version: bool = True
    cuts: list[int | None] = field(default_factory=list)
    hang: bool = False
    then: Served | None = None


@dataclass(frozen=True)
class Seen:
    """A request that came, and the number of bytes of the file that were sent for it (noted before they are sent)."""

    path: str
    range: str | None
    sent: int


class DriveServer:
    """Serves files by Drive id (/uc?id=...) and by name (/files/<name>)."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def serve(self, name: str, content: bytes = b"", **behaviour) -> Served:
        self.files[name] = Served(content, **behaviour)
        return self.files[name]

    def url_of(self, name: str) -> str:
        return f"{self.url}/files/{name}"

    @property
    def ranges_asked(self) -> list[str]:
        return [seen.range for seen in self.seen if seen.range]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextmanager
def running_server() -> Iterator[DriveServer]:
    server = DriveServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def redirect_google(monkeypatch, server: DriveServer) -> None:
    """Send every request for a host of Google to the local server; it still goes over HTTP."""
    original_send = requests.Session.send

    def send(session, request, **options):
        parts = urllib.parse.urlsplit(request.url)
        if parts.hostname and parts.hostname.endswith("google.com"):
            local = urllib.parse.urlsplit(server.url)
            request.url = parts._replace(scheme="http", netloc=local.netloc).geturl()
        return original_send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", send)


def _handler_of(server: DriveServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        drive = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    drive: DriveServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        if parts.path == "/ServiceLogin":
            self._send_page(200, SIGN_IN_PAGE)
            return
        name = query["id"][0] if "id" in query else parts.path.removeprefix("/files/")
        served = self.drive.files.get(name, Served(status=404, page=NOT_FOUND_PAGE))
        if served.hang:
            self.drive.closing.wait()
            self.close_connection = True
        elif served.sign_in:
            self.send_response(302)
            self.send_header("Location", f"https://accounts.google.com/ServiceLogin?continue={name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif served.confirm and not ("confirm" in query and served.accepts_confirmation):
            self._send_page(200, CONFIRM_PAGE.format(id=name))
        elif served.page is not None:
            self._send_page(served.status, served.page, attachment=served.page_as_attachment)
        else:
            self.drive.files[name] = served.then or served
            self._send_file(served)

    def _send_page(self, status: int, page: str, attachment: bool = False) -> None:
        self.drive.seen.append(Seen(self.path, self.headers["Range"], 0))
        body = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if attachment:
            self.send_header("Content-Disposition", 'attachment; filename="chips.tar.gz"')
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, served: Served) -> None:
        total, start = len(served.content), 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        same_version = not served.checks_version or self.headers["If-Range"] in (None, served.etag)
        if asked and served.ranges and same_version:
            start = int(asked[1])
            if start >= total:
                self._send_page(416, "<html><title>Range not satisfiable</title></html>")
                return
        cut = served.cuts.pop(0) if served.cuts else None
        end = total if cut is None else min(total, start + cut)
        self.drive.seen.append(Seen(self.path, self.headers["Range"], end - start))
        self.send_response(206 if start else served.status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Disposition", 'attachment; filename="chips.tar.gz"')
        self.send_header("Content-Length", str(total - start))
        if served.etag is not None:
            self.send_header("ETag", served.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        try:
            self.wfile.write(served.content[start:end])
        except ConnectionError:  # the client has read enough
            self.close_connection = True
        if end < total:
            self.close_connection = True
