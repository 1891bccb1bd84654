"""Where the lab keeps what: paths, and the addresses and ports it takes."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

SSH_PORT = 2222
WEB_PORT, WEBSECURE_PORT, API_PORT, STANDBY_API_PORT = 8000, 8443, 8082, 8083
AUTHORITY_PORT = 9000
# sun_path of unix(7) holds 108 bytes with the closing zero; the longest name made in the directory has 16.
_SOCKET_DIRECTORY_LIMIT = 107 - 17


@dataclass(frozen=True)
class Layout:
    """The lab's directory.

    Args:
        directory: absolute.
    """

    directory: Path

    @property
    def record(self) -> Path:
        """The lab's own record: processes, addresses, ports."""
        return self.directory / "lab.json"

    @property
    def settings(self) -> Path:
        """The stack settings that point at the lab."""
        return self.directory / "settings.yaml"

    @property
    def logs(self) -> Path:
        """Logs of the lab's processes, and the journal."""
        return self.directory / "log"

    @property
    def journal(self) -> Path:
        """The journal of the services in the Traefik container."""
        return self.logs / "journal.jsonl"

    @property
    def keys(self) -> Path:
        """SSH keys of hosts and client."""
        return self.directory / "ssh"

    @property
    def client_key(self) -> Path:
        """The private key that every host of the lab lets in."""
        return self.keys / "id_ed25519"

    @property
    def authority(self) -> Path:
        """The lab's certificate authority and what it issued."""
        return self.directory / "authority"

    @property
    def root_certificate(self) -> Path:
        """The certificate authority's own certificate (PEM)."""
        return self.authority / "root.crt"

    @property
    def public_authority(self) -> Path:
        """What plays the public certificate authority."""
        return self.authority / "public"

    @property
    def roots(self) -> Path:
        """Both root certificates in one file, for clients."""
        return self.authority / "roots.crt"

    @property
    def traefik(self) -> Path:
        """What stands for ``/`` of the Traefik container."""
        return self.directory / "traefik"

    @property
    def portainer(self) -> Path:
        """What stands for ``/`` of the Portainer machine."""
        return self.directory / "portainer"

    @property
    def runtime(self) -> Path:
        """Where the Unix sockets are: in the lab, or, where its path is too long for a socket, a private directory."""
        inside = self.directory / "run"
        if len(os.fsencode(inside)) <= _SOCKET_DIRECTORY_LIMIT:
            return inside
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108 - checked in make_runtime
        if len(os.fsencode(base)) > 60 or not base.is_dir():
            base = Path("/tmp")  # noqa: S108
        return base / f"phoenix-lab-{os.getuid()}-{digest}"

    def make_runtime(self) -> Path:
        """Make the runtime directory; only its owner may list it.

        Raises:
            LabError: somebody else made a directory of that name.
        """
        path = self.runtime
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise LabError(f"{path} belongs to another user: remove it, or choose another --directory.")
        path.chmod(0o711)
        return path


def check_directory(directory: Path) -> Path:
    """The absolute path of a lab's directory.

    Raises:
        LabError: the path holds a character that sshd's configuration or a unit file cannot carry.
    """
    absolute = directory.expanduser().absolute()
    bad = re.search(r"[\"'\\%$\x00-\x1f]", str(absolute))
    if bad:
        raise LabError(
            f"--directory {str(absolute)!r} holds {bad[0]!r}, which sshd and unit files cannot carry: "
            "choose a path without it."
        )
    return absolute


def check_network(network: str) -> str:
    """The first two numbers of the lab's addresses, such as ``127.10``.

    Raises:
        LabError: it is none, or not on loopback.
    """
    try:
        address = ipaddress.IPv4Address(f"{network}.0.1")
    except ValueError:
        address = None
    if address is None or not address.is_loopback or network.count(".") != 1:
        raise LabError(f"--network {network!r} is no pair of numbers on loopback: give one such as 127.10.")
    return network
