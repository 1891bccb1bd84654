"""The stand-in's sockets: HTTP/1.1 over TLS, one thread a connection, faults, restarts."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lab.portainer.api import Api, wall_clock
from lab.portainer.faults import Fault, Faults, Log
from lab.portainer.messages import Reply, Request, error, text
from lab.portainer.modes import MODES
from lab.portainer.stacks import Interrupted
from lab.portainer.state import State

_MAXIMUM_BODY = 32 * 1024 * 1024


class StandIn:
    """A Portainer server in this process.

    Args:
        mode: ``2.23``, ``2.39``, ``2.41`` or ``2.43``.
        certificate: PEM file with the server's certificate chain; none speaks plain HTTP.
        key: PEM file with its private key.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        state_file: where to keep everything; none keeps it in memory.
        log_file: where to add a JSON line for each request.
        clock: seconds; moved by tests that cannot wait an hour.
    """

    def __init__(
        self,
        mode: str = "2.39",
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        state_file: Path | None = None,
        log_file: Path | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        state = State(state_file)
        state.load()
        self.api = Api(MODES[mode], state, clock)
        self.state = state
        self.faults = Faults()
        self.log = Log(clock, log_file)
        self.host, self.port = host, port
        self.timeout_seconds = 30.0
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate, key)
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None
        self.released = threading.Event()
        self._restarting = threading.Lock()
        self._restarter: threading.Thread | None = None

    def __enter__(self) -> StandIn:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Open the port."""
        self.released.clear()
        self._listener = _Listener((self.host, self.port), self, self._context)
        self.port = int(self._listener.server_address[1])
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.02}, name="portainer", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection."""
        listener, thread = self._listener, self._thread
        self._listener = self._thread = None
        self.released.set()
        if listener is not None and thread is not None:
            listener.shutdown()
            listener.server_close()
            listener.drop_all()
            thread.join(timeout=5)
        for worker in list(self.api.threads):
            worker.join(timeout=5)
        self.api.threads.clear()

    def restart(self) -> None:
        """End and start: connections drop, tokens are void, what was kept stays; the port opens again at once."""
        with self._restarting:
            listener = self._listener
            if listener is None:
                return
            self.api.restart()
            self.released.set()
            listener.shutdown()
            listener.server_close()
            listener.drop_all()
            self.start()

    def wait_for_restart(self) -> None:
        """Wait until a restart that a fault has begun is over; not for its own thread."""
        restarter = self._restarter
        if restarter is not None and restarter is not threading.current_thread():
            restarter.join(timeout=5)

    def answer(self, request: Request, query: str) -> Reply | None:
        """The reply to a request, or none where a fault leaves it without one."""
        fault = self.faults.take(request.method, request.path)
        reply = self._fault(fault, "before")
        if reply is _CARRY_ON:
            try:
                reply = self.api.handle(request)
            except Interrupted:
                reply = None
            instead = self._fault(fault, "after")
            if instead is not _CARRY_ON:
                reply = instead
        self.log.add(request.method, request.path, query, reply.status if reply else 0)
        return reply

    def _fault(self, fault: Fault | None, moment: str) -> Reply | None:
        if fault is None or not fault.kind.endswith(f"-{moment}"):
            return _CARRY_ON
        match fault.kind.removesuffix(f"-{moment}"):
            case "500":
                return error(500, "Unable to persist changes inside the database", "injected fault")
            case "502":
                return text(502, "Bad Gateway")
            case "timeout":
                self.released.wait(self.timeout_seconds)
            case "restart":
                self._restarter = threading.Thread(target=self.restart, name="restart", daemon=True)
                self._restarter.start()
                self.released.wait(self.timeout_seconds)
        return None


#: Not a reply: no fault takes its place.
_CARRY_ON = Reply(0)


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: StandIn, context: ssl.SSLContext | None) -> None:
        self.owner = owner
        self._context = context
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(60)
        if self._context is not None:
            # The handshake is left to the connection's own thread.
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            if isinstance(request, socket.socket):
                self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, _request: object, _address: object) -> None:
        """Connections that break are a client's affair, or a fault's."""

    def drop_all(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _MAXIMUM_BODY:
            self._write(error(400, "Invalid request payload"))
            self.close_connection = True
            return
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        headers: Mapping[str, str] = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            self.command,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            headers,
            body,
            str(self.client_address[0]),
        )
        reply = self.server.owner.answer(request, parts.query)
        if reply is None:
            self.close_connection = True
            return
        self._write(reply)

    def _write(self, reply: Reply) -> None:
        lines = [f"HTTP/1.1 {reply.status} {self.responses.get(reply.status, ('',))[0]}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        lines.append(f"Content-Length: {len(reply.body)}")
        if reply.status == 204:
            lines.pop()
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        self.wfile.write(head + reply.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Requests are in the stand-in's own log."""
