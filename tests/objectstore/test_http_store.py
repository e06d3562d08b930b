"""Packs on a plain HTTP server, and what opening a URL does not do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import IO

import pytest

from git_theta.errors import StoreError
from git_theta.plugins import installed
from git_theta.testing import StoreConformance
from theta_objectstore.types import SCHEMES, ObjectStoreType

pytest.importorskip("obstore")


def blocks(file: IO[bytes], nbytes: int) -> Iterator[bytes]:
    while nbytes:
        block = file.read(min(nbytes, 2**20))
        nbytes -= len(block)
        yield block


class Files(BaseHTTPRequestHandler):
    """Serves and takes files of the folder ``root``, as a web server with PUT does."""

    protocol_version = "HTTP/1.1"
    root: Path

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        file = self.root / self.path.strip("/")
        nbytes = file.stat().st_size if file.is_file() else 0
        self.send_response(200 if file.is_file() else 404)
        self.send_header("Content-Length", str(nbytes))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET" and nbytes:
            with file.open("rb") as data:
                shutil.copyfileobj(data, self.wfile)

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        file = self.root / self.path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{id(self)}")
        with new.open("wb") as out:
            for block in blocks(self.rfile, int(self.headers["Content-Length"])):
                out.write(block)
        new.replace(file)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


class TestHttp(StoreConformance):
    store_type = ObjectStoreType("http")
    bad_urls = ("http://", "http://user:pass@host/x", "http://host/x?key=1", "http://host/../x")

    @pytest.fixture(autouse=True)
    def _served(self, tmp_path: Path) -> Iterator[None]:
        self.root = tmp_path / "served"
        handler = type("Here", (Files,), {"root": self.root})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.port = server.server_address[1]
        yield
        server.shutdown()
        thread.join()
        server.server_close()

    def url(self, folder: Path) -> str:
        return f"http://127.0.0.1:{self.port}/packs/of-a-team"

    def corrupt(self, folder: Path, pack: str) -> None:
        file = self.root / "packs" / "of-a-team" / pack
        file.write_bytes(b"X" + file.read_bytes()[1:])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_kernel_finds_every_scheme(scheme: str) -> None:
    assert isinstance(installed().store_type(scheme), ObjectStoreType)


def test_a_url_of_another_scheme_is_refused() -> None:
    with pytest.raises(StoreError, match="Expected gs://BUCKET/PREFIX"):
        ObjectStoreType("gs").open("s3://bucket/x")


def test_offering_stores_imports_no_transfer_library() -> None:
    code = (
        "import sys; from git_theta.plugins import installed; installed().store_type('s3');"
        "print('obstore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
