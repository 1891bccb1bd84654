"""What must hold in the container before anything is put there; each check run by a real shell."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest
from programs import traefik_program

from phoenix import configuration
from phoenix.remote import Transport
from phoenix.settings import parse
from phoenix.traefik.named_files import NamedFile, combined_script, named_files, problems
from phoenix.traefik.readiness import checks, combined, failures, mending

INVENTORY = Path(__file__).resolve().parents[2] / "stacks" / "inventory" / "local"
CERTIFICATE = """-----BEGIN CERTIFICATE-----
not parsed where there is no openssl
-----END CERTIFICATE-----
"""


def said(transport: Transport, values: dict[str, Any]) -> list[str]:
    settings = parse(values, "stacks/Pulumi.test.yaml")
    parts = checks(settings, configuration.read(INVENTORY, settings)[1])
    return list(failures(parts, transport.run(combined(parts)).text))


def values(tmp_path: Path, **traefik: Any) -> dict[str, Any]:
    return {
        "traefik": {
            "binary": str(traefik_program()),
            "user": getpass.getuser(),
            "stateDirectory": "/nowhere-else",
            **traefik,
        },
        "certificateAuthority": {"rootFile": str(tmp_path / "root.crt")},
    }


@pytest.fixture
def root_file(tmp_path: Path) -> Path:
    """A real root certificate."""
    from test_certificates import Issuer

    path = tmp_path / "root.crt"
    issuer = Issuer("Root")
    path.write_bytes(issuer.pem)
    return path


def found(lines: list[str], name: str) -> str:
    return next((line for line in lines if line.startswith(name)), "")


def test_a_program_of_another_version(transport: Transport, tmp_path: Path) -> None:
    assert found(said(transport, values(tmp_path)), "Traefik program") == ""
    line = found(said(transport, values(tmp_path, version="3.6.0")), "Traefik program")
    assert "is Traefik 3.7.15, not 3.6.0" in line
    assert "let phoenix:traefik.install bring it" in line
    missing = found(said(transport, values(tmp_path, binary="/nowhere/traefik")), "Traefik program")
    assert "there is no program /nowhere/traefik" in missing
    broken = found(said(transport, values(tmp_path, binary="/bin/false")), "Traefik program")
    assert "/bin/false does not run" in broken


def test_a_program_that_will_be_installed_need_not_be_there(transport: Transport, tmp_path: Path) -> None:
    install = {"url": "https://mirror.example.test/traefik_v{version}.tar.gz", "sha256": "0" * 64}
    lines = said(transport, values(tmp_path, binary="/nowhere/traefik", install={**install, "fetchFrom": "container"}))
    assert found(lines, "Traefik program") == ""


def test_the_root_certificate(transport: Transport, tmp_path: Path) -> None:
    name = "internal CA's root certificate"
    path = tmp_path / "root.crt"
    assert f"{path} does not exist" in found(said(transport, values(tmp_path)), name)
    path.mkdir()
    assert f"{path} is no file" in found(said(transport, values(tmp_path)), name)
    path.rmdir()
    path.write_text("a key, perhaps\n")
    assert f"{path} holds no PEM certificate" in found(said(transport, values(tmp_path)), name)


def test_a_root_certificate_that_traefiks_account_cannot_read(
    transport: Transport, tmp_path: Path, root_file: Path
) -> None:
    import os
    import shutil

    if os.geteuid() != 0 or not shutil.which("runuser"):
        pytest.skip("only root, with runuser, can look with another account's eyes")
    file = NamedFile(str(root_file), "certificate", "here")
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    root_file.chmod(0o600)
    # an account that does not exist yet sees what nobody sees
    for user in ("nobody", "no-such-account"):
        lines = problems([file], transport.run(combined_script([file], user)).text)
        assert lines == [f"here: {root_file} cannot be read by the account {user}"]
    root_file.chmod(0o644)
    lines = problems([file], transport.run(combined_script([file], "nobody")).text)
    assert [line for line in lines if "cannot be read" in line] == []


def test_a_storage_others_may_read_is_closed_but_not_touched(transport: Transport, tmp_path: Path) -> None:
    settings = parse(values(tmp_path, stateDirectory=str(tmp_path)), "s")
    parts = checks(settings, configuration.read(INVENTORY, settings)[1])
    storage = tmp_path / "acme-internal.json"
    storage.write_text("keys")
    storage.chmod(0o644)
    (tmp_path / "acme-external.json").symlink_to(storage)
    before = storage.stat()

    def seen() -> str:
        name = "certificatesResolvers.internal-resolver.acme.storage"
        return found(list(failures(parts, transport.run(combined(parts)).text)), name)

    assert f"{storage} has the mode 644" in seen()
    assert "skips the resolver: it must be 600 (`pulumi up` does that)" in seen()
    transport.run(mending(parts))
    assert seen() == ""
    after = storage.stat()
    assert (after.st_mode & 0o777, after.st_mtime_ns, after.st_ino) == (0o600, before.st_mtime_ns, before.st_ino)
    storage.chmod(0o644)
    (only,) = [part for part in parts if part.mend and "external" in part.name]
    transport.run(mending([only]))
    assert storage.stat().st_mode & 0o777 == 0o644, "a link is not followed"


def test_every_file_that_a_configuration_names() -> None:
    static = {
        "certificatesResolvers": {"a": {"acme": {"caCertificates": ["/ca"], "storage": "/acme.json"}}},
        "serversTransport": {"rootCAs": ["/static-root"]},
        "providers": {"file": {"filename": "/dynamic/conf.yml"}},
    }
    dynamic = {
        "http": {
            "serversTransports": {
                "t": {"rootCAs": ["/root", CERTIFICATE], "certificates": [{"certFile": "/c", "keyFile": "/k"}]}
            },
            "middlewares": {"m": {"basicAuth": {"usersFile": "/users"}}},
        },
        "tcp": {"serversTransports": {"t": {"tls": {"rootCAs": ["/tcp-root", "/root"]}}}},
        "tls": {
            "certificates": [{"certFile": "/d", "keyFile": "/e"}],
            "options": {"o": {"clientAuth": {"caFiles": ["/client"]}}},
            "stores": {"default": {"defaultCertificate": {"certFile": "/f", "keyFile": "/g"}}},
        },
    }
    assert [(file.path, file.kind) for file in named_files(static, dynamic)] == [
        ("/ca", "certificate"),
        ("/acme.json", "storage"),
        ("/static-root", "certificate"),
        ("/dynamic/conf.yml", "watched"),
        ("/root", "certificate"),
        ("/c", "certificate"),
        ("/k", "key"),
        ("/users", "users"),
        ("/tcp-root", "certificate"),
        ("/d", "certificate"),
        ("/e", "key"),
        ("/f", "certificate"),
        ("/g", "key"),
        ("/client", "certificate"),
    ]
    for nothing in (None, [], "text", {"http": None}, {"http": {"serversTransports": [1]}}):
        assert named_files(nothing, nothing) == []
