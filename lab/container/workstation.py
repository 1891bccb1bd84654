"""This machine as a user's machine in the lab's network: its names resolve and its roots are trusted.

A command runs here as it is, with the same files and in the same network, but in a mount namespace of its own in which
the resolver's configuration and the store of root certificates are the lab's. Nothing of this machine is changed.
"""

from __future__ import annotations

from pathlib import Path

from lab.container.machines import Runtime

_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
# $0: the directory with the files; "$@": the command.
_ENTER = """
for name in resolv.conf nsswitch.conf; do
    [ ! -e "/etc/$name" ] || mount --bind "$0/$name" "$(readlink -f "/etc/$name")" || exit
done
for store in %s; do
    [ ! -e "$store" ] || mount --bind "$0/roots.crt" "$(readlink -f "$store")" || exit
done
exec "$@"
"""


def prepare(runtime: Runtime, dns_server: str, roots: str) -> None:
    """Write the files that such a command sees.

    Args:
        runtime: the lab's.
        dns_server: address of the internal DNS server.
        roots: PEM of the lab's roots, added to those that this machine trusts.
    """
    directory = _directory(runtime)
    directory.mkdir()
    (directory / "resolv.conf").write_text(f"nameserver {dns_server}\n")
    (directory / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    stores = [Path(store) for store in _STORES if Path(store).is_file()]
    known = stores[0].read_text(encoding="utf-8", errors="replace") if stores else ""
    (directory / "roots.crt").write_text(known + roots, encoding="utf-8")
    for path in (directory, *directory.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)


def prefix(runtime: Runtime) -> list[str]:
    """Start of a command line that runs the rest there."""
    script = _ENTER % " ".join(_STORES)
    return ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", script, str(_directory(runtime))]


def _directory(runtime: Runtime) -> Path:
    return runtime.directory / "workstation"
