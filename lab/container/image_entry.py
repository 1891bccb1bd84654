"""What runs inside the lab's container images: ``python3 image_entry.py server|agent|answer OPTION…``.

``server`` takes Portainer's own options (https://docs.portainer.io/advanced/cli) and runs the lab's stand-in of
Portainer's API; ``agent`` answers ``/ping`` as Portainer's agent does; ``answer`` answers everything with its name.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_OWN = Path("/opt/lab")
_STATE = Path("/data/state.json")


def server(arguments: list[str]) -> int:
    """Portainer's server: the stand-in, with the first account made from the password file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sslcert", type=Path, default=_OWN / "own.crt")
    parser.add_argument("--sslkey", type=Path, default=_OWN / "own.key")
    parser.add_argument("--admin-password-file", type=Path)
    parser.add_argument("--bind-https", default=":9443")
    options, _ = parser.parse_known_args(arguments)
    port = options.bind_https.rpartition(":")[2]
    child = subprocess.Popen(
        [
            sys.executable, "-m", "lab.portainer", "--mode", os.environ["PORTAINER_MODE"],
            "--host", "0.0.0.0", "--port", port,  # noqa: S104 - inside a container
            "--certificate", str(options.sslcert), "--key", str(options.sslkey),
            "--state", str(_STATE), "--log", "/data/requests.jsonl",
        ]
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    if options.admin_password_file is not None:
        _first_account(int(port), options.admin_password_file.read_text(encoding="utf-8").strip())
    return child.wait()


def _first_account(port: int, password: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    body = json.dumps({"Username": "admin", "Password": password}).encode()
    url = f"https://127.0.0.1:{port}/api/users/admin/init"
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    for _ in range(100):
        try:
            urllib.request.urlopen(request, context=context, timeout=5).close()  # noqa: S310 - our own server
            return
        except urllib.error.HTTPError:
            return  # there is an account already
        except OSError:
            time.sleep(0.05)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the environment that Compose gave."""
        body = json.dumps({"path": self.path, "environment": dict(os.environ)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Agent(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """204 for ``/ping``, with the header by which a server knows an agent."""
        self.send_response(204 if self.path == "/ping" else 403)
        self.send_header("Portainer-Agent", "2.39.0")
        self.send_header("Content-Length", "0")
        self.end_headers()


def main(arguments: list[str]) -> int:
    """Run one of the three."""
    if arguments[0] == "server":
        return server(arguments[1:])
    # PID 1 of a container gets only the signals it has handlers for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    handler, port = (_Agent, 9001) if arguments[0] == "agent" else (_Answer, int(os.environ.get("PORT", "80")))
    listener = ThreadingHTTPServer(("", port), handler)
    if handler is _Agent:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_OWN / "own.crt", _OWN / "own.key")
        listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    listener.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
