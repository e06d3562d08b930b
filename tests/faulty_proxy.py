"""Stands before an HTTP server of the tests: counts what passes, and lets happen what servers do.

Bodies are counted, headers are not. A fault is told once and happens to the next requests that it
fits, as often as it says.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

BLOCK = 2**16
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    sent: int = 0
    """Bytes of its body that came from the client."""
    received: int = 0
    """Bytes of the answer's body that went to the client."""
    status: int = 0
    """0 when the connection was cut before an answer."""
    error: str = ""
    """Why it was cut, when nobody asked for that."""


@dataclass
class Fault:
    """What happens to requests: the server's own answer unless it says otherwise."""

    method: str = ""
    """The method that it happens to; any when empty."""
    path: str = ""
    """A regular expression that is found in the path."""
    times: int = 1
    """How many requests it happens to."""
    status: int = 0
    """Answer with this status in place of the server."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of that answer."""
    cut_request: int | None = None
    """Cut the connection after so many bytes of the request's body; the server sees nothing."""
    cut_answer: int | None = None
    """Cut the connection after so many bytes of the answer's body."""
    unframed: bool = False
    """Answer without saying how long the body is, so that a cut looks like its end."""
    flip: int | None = None
    """Flip a bit in this byte of the answer's body."""
    action: Callable[[], object] | None = None
    """What is done before anything else."""


class _Cut(Exception):
    """The connection ends here."""


class FaultyProxy:
    """The proxy; forwards to ``upstream``, a port on this machine, from a port of its own."""

    def __init__(self) -> None:
        self.upstream = 0
        self.requests: list[Seen] = []
        self.authorization = ""
        """The header without which Git LFS's own API refuses every request, if any."""
        self.rate = 0
        """Bytes a second that all clients together can send, as through a wire; 0: any number."""
        self._wire_free = 0.0
        self._faults: list[Fault] = []
        self._lock = Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fault(self, fault: Fault) -> None:
        """Let something happen."""
        with self._lock:
            self._faults.append(fault)

    def reset(self) -> None:
        """Forget all faults, and what was counted."""
        with self._lock:
            self._faults.clear()
            self.requests = []
            self.authorization = ""

    def count(self, method: str = "", path: str = "") -> int:
        """How many requests there were."""
        return len(self.matching(method, path))

    def matching(self, method: str = "", path: str = "") -> list[Seen]:
        """The requests of a method and a path."""
        with self._lock:
            return [
                s for s in self.requests if method in ("", s.method) and re.search(path, s.path)
            ]

    @property
    def sent(self) -> int:
        """Bytes of bodies that came from clients."""
        return sum(seen.sent for seen in self.matching())

    @property
    def received(self) -> int:
        """Bytes of bodies that went to clients."""
        return sum(seen.received for seen in self.matching())

    def carry(self, nbytes: int) -> None:
        """Return when the wire has carried bytes that came from a client."""
        if not self.rate:
            return
        with self._lock:
            start = max(time.monotonic(), self._wire_free)
            self._wire_free = end = start + nbytes / self.rate
        time.sleep(max(0.0, end - time.monotonic()))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, method: str, path: str) -> tuple[Seen, Fault]:
        """Count a request; what shall happen to it."""
        seen = Seen(method, path)
        with self._lock:
            self.requests.append(seen)
            for fault in self._faults:
                fits = fault.method in ("", method) and re.search(fault.path, path)
                if fits and fault.times > 0:
                    fault.times -= 1
                    return seen, fault
        return seen, Fault()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: FaultyProxy

    def handle_error(self, *_: object) -> None:
        """Clients leave when they please."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def handle_request(self) -> None:
        seen, fault = self.server.proxy.take(self.command, self.path)
        wanted = self.server.proxy.authorization
        if (
            wanted
            and self.path.endswith("/objects/batch")
            and self.headers["Authorization"] != wanted
        ):
            fault = Fault(status=401, headers={"WWW-Authenticate": "Basic realm=tests"})
        try:
            if fault.action:
                fault.action()
            if fault.status:
                self._refuse(seen, fault)
            else:
                self._forward(seen, fault)
        except Exception as error:
            seen.error = "" if isinstance(error, _Cut) else repr(error)
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = handle_request

    def _refuse(self, seen: Seen, fault: Fault) -> None:
        for _ in self._body(seen, fault):
            pass
        seen.status = fault.status
        self.send_response(fault.status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _forward(self, seen: Seen, fault: Fault) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.proxy.upstream)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP - {"content-length"}:
                    upstream.putheader(name, value)
            chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
            if chunked:
                upstream.putheader("Transfer-Encoding", "chunked")
            upstream.endheaders()
            for block in self._body(seen, fault):
                upstream.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            if chunked:
                upstream.send(b"0\r\n\r\n")
            self._answer(upstream.getresponse(), seen, fault)

    def _answer(self, answer: http.client.HTTPResponse, seen: Seen, fault: Fault) -> None:
        seen.status = answer.status
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length")
        chunked = length is None and not fault.unframed and answer.status not in (204, 304)
        if fault.unframed:
            self.send_header("Connection", "close")
            self.close_connection = True
        elif length is None and chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self._pass_on(answer, seen, fault, chunked)

    def _pass_on(
        self, answer: http.client.HTTPResponse, seen: Seen, fault: Fault, chunked: bool
    ) -> None:
        while block := answer.read(BLOCK):
            if fault.flip is not None and 0 <= fault.flip - seen.received < len(block):
                at = fault.flip - seen.received
                block = block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]
            if fault.cut_answer is not None:
                block = block[: fault.cut_answer - seen.received]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            seen.received += len(block)
            if seen.received == fault.cut_answer:
                raise _Cut
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _body(self, seen: Seen, fault: Fault) -> Iterator[bytes]:
        for block in self._blocks():
            seen.sent += len(block)
            self.server.proxy.carry(len(block))
            if fault.cut_request is not None and seen.sent >= fault.cut_request:
                raise _Cut
            yield block
        if fault.cut_request is not None:
            raise _Cut

    def _blocks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            block = self.rfile.read(min(left, BLOCK))
            if not block:
                raise _Cut
            left -= len(block)
            yield block
