"""A small proxy in front of a workbench that fails on demand, as networks and servers do. No tests.

A fault is set for a path and stays until it is taken away: the connection is cut before the server hears anything, the
server's reply is lost after it has acted, the reply is held until it is let go, or the proxy answers itself. What was
asked on faulty paths is remembered, so that tests wait on events rather than on the clock.
"""

import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERROR_PAGES = {
    "500": (500, "text/plain", b"Internal Server Error"),
    "html": (502, "text/html", b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "captive": (200, "text/html", b"<html><body>Please accept our terms.</body></html>"),
}
WAIT = 15  # seconds for something that must happen


@dataclass
class Fault:
    """What goes wrong on a path: cut, lose, hold, or a key of ERROR_PAGES. hits: JSON bodies asked meanwhile."""

    kind: str
    hits: list[dict] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def was_asked(self) -> dict:
        """Wait for the next request on the path; returns its body. Each is waited for once."""
        assert self.asked.acquire(timeout=WAIT), f"nobody asked within {WAIT} s"
        return self.hits[-1]


class FlakyProxy:
    """Listens on a port of its own and passes everything on to 127.0.0.1:`port`. Use as a context manager."""

    def __init__(self, port: int):
        self.port, self.faults, self.sent = port, {}, []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "FlakyProxy":
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.heal()
        self.server.shutdown()
        self.server.server_close()

    def break_(self, path: str, kind: str) -> Fault:
        """From now on requests for paths that end so meet this fault."""
        self.faults[path] = Fault(kind)
        return self.faults[path]

    def heal(self) -> None:
        """No faults from now on; replies that were held go out."""
        faults, self.faults = self.faults, {}
        for fault in faults.values():
            fault.released.set()

    def answers(self) -> list[str]:
        """The submission ids that reached the server, in order."""
        return [body["submission_id"] for path, body in self.sent if path.endswith("/rank/answer")]

    def fault_of(self, path: str) -> Fault | None:
        """What goes wrong with this path now."""
        return next((fault for end, fault in self.faults.items() if path.split("?")[0].endswith(end)), None)

    def forward(self, request: bytes) -> socket.socket:
        """Send a whole request to the server. Raises OSError where it is down."""
        upstream = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        upstream.sendall(request)
        return upstream

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                carry(proxy, self)

            do_POST = do_GET

            def log_message(self, *_) -> None:
                """Says nothing."""

        return Handler


def carry(proxy: FlakyProxy, handler: BaseHTTPRequestHandler) -> None:
    """One request, with the fault of its path."""
    handler.close_connection = True
    body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
    fault = proxy.fault_of(handler.path)
    try:
        if fault is None or fault.kind in ("lose", "hold"):
            pass_on(proxy, handler, body, fault)
        elif fault.kind in ERROR_PAGES:
            answer_instead(handler, *ERROR_PAGES[fault.kind])
        if fault is not None and fault.kind != "hold":
            note(fault, body)
    except OSError:
        return  # either side has gone; the browser sees a broken connection


def pass_on(proxy: FlakyProxy, handler: BaseHTTPRequestHandler, body: bytes, fault: Fault | None) -> None:
    """Forward the request and the reply, byte by byte; a reply may be held or lost on its way."""
    with proxy.forward(request_bytes(handler, body)) as upstream:
        if handler.command == "POST":
            proxy.sent.append((handler.path, as_json(body)))
        held = b"" if fault is None else read_all(upstream)
        if fault is not None and fault.kind == "hold":
            note(fault, body)
            fault.released.wait(60)
        if fault is None or fault.kind == "hold":
            handler.wfile.write(held)
            while piece := upstream.recv(65536):
                handler.wfile.write(piece)


def note(fault: Fault, body: bytes) -> None:
    """Remember a request, and wake up who waits for it."""
    fault.hits.append(as_json(body))
    fault.asked.release()


def request_bytes(handler: BaseHTTPRequestHandler, body: bytes) -> bytes:
    """The request as it came, asking the server to close after its reply."""
    kept = [(name, value) for name, value in handler.headers.items() if name.lower() != "connection"]
    lines = [handler.requestline, *(f"{name}: {value}" for name, value in kept), "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def read_all(upstream: socket.socket) -> bytes:
    """The whole reply."""
    pieces = []
    while piece := upstream.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def answer_instead(handler: BaseHTTPRequestHandler, status: int, kind: str, text: bytes) -> None:
    """An answer that the server never gave."""
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


def as_json(body: bytes) -> dict:
    """The body as JSON, or {} for anything else."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
