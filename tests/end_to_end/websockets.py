"""A WebSocket through whatever stands between: every byte comes back."""

from __future__ import annotations

import ssl


def echoes(stream: ssl.SSLSocket, host: str, path: str, said: bytes) -> None:
    """Shake hands (RFC 6455, with the key of its section 1.3), say something, and expect to hear it."""
    stream.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += stream.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    stream.sendall(said)
    assert stream.recv(4096) == said
