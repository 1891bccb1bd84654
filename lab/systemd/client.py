"""The ``systemctl`` and ``journalctl`` that a session in the lab finds first on its PATH.

Started as ``python -I -S client.py systemctl|journalctl SOCKET JOURNAL [argument …]``. It imports nothing but
the standard library's smallest parts, so that one command costs some 20 ms.
"""

import json
import socket
import sys


def _systemctl(address: str, arguments: list[str]) -> int:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
    except OSError as error:
        sys.stderr.write(
            f"Failed to connect to the lab's service manager at {address}: {error.strerror}: "
            "start the lab with bin/lab up.\n"
        )
        return 1
    with connection:
        connection.sendall(json.dumps(arguments).encode() + b"\n")
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
    if not received:
        sys.stderr.write("The lab's service manager went away: see its log with bin/lab logs.\n")
        return 1
    reply = json.loads(received)
    sys.stdout.write(reply["out"])
    sys.stderr.write(reply["err"])
    return int(reply["code"])


def _journalctl(path: str, arguments: list[str]) -> int:
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from lab.systemd.journalctl import run

    return run(Path(path), arguments)


if __name__ == "__main__":
    command, address, journal, *rest = sys.argv[1:]
    try:
        status = _systemctl(address, rest) if command == "systemctl" else _journalctl(journal, rest)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader went away, as `| head` does.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 141
    sys.exit(status)
