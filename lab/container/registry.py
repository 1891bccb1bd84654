"""A read-only container registry over TLS. A script of its own, standard library only.

Usage: ``python3 registry.py CONFIGURATION``, a JSON object ``{"address", "port", "certificate", "key", "blobs",
"images"}``: ``blobs`` is a directory of files named by their SHA-256, ``images`` maps repository names to
``{"tags": {tag: digest of the manifest}}``. Protocol: https://distribution.github.io/distribution/spec/api/.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_PATH = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/(?P<kind>manifests|blobs)/(?P<reference>[A-Za-z0-9._:-]+)")


class _Handler(BaseHTTPRequestHandler):
    """Answers the three requests of a pull."""

    protocol_version = "HTTP/1.1"
    configuration: dict[str, Any]

    def do_GET(self) -> None:
        """``/v2/``, a manifest or a blob."""
        if self.path == "/v2/":
            self._send(200, b"{}", "application/json", None)
            return
        match = _PATH.fullmatch(self.path.partition("?")[0])
        image = self.configuration["images"].get(match["name"]) if match else None
        if match is None or image is None:
            self._refuse("NAME_UNKNOWN", "repository name not known to registry")
            return
        reference = match["reference"]
        digest = reference if ":" in reference else image["tags"].get(reference)
        blob = Path(self.configuration["blobs"]) / str(digest).partition(":")[2]
        if digest is None or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest) or not blob.is_file():
            self._refuse("MANIFEST_UNKNOWN", "manifest unknown")
            return
        kind = MANIFEST if match["kind"] == "manifests" else "application/octet-stream"
        self._send(200, blob.read_bytes(), kind, digest)

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def _refuse(self, code: str, message: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._send(404, body, "application/json", None)

    def _send(self, status: int, body: bytes, kind: str, digest: str | None) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if digest is not None:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def serve(configuration: dict[str, Any]) -> None:
    """Serve until killed."""
    _Handler.configuration = configuration
    server = ThreadingHTTPServer((configuration["address"], configuration["port"]), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(configuration["certificate"], configuration["key"])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    serve(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
