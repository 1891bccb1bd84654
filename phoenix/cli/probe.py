"""``phoenix probe``: a real request for every routed host name, through the gateway or Traefik."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one host name.

    Attributes:
        status: HTTP status, or None where there was no answer.
        served_by: what the backend said of itself, where it said so.
        issuer: common name of the certificate's issuer.
        seconds: from connecting to the last byte.
        error: why there was no answer.
    """

    hostname: str
    router: str
    status: int | None
    served_by: str | None
    issuer: str | None
    seconds: float
    error: str | None = None


def ask(address: str, port: int, hostname: str, router: str, path: str, context: ssl.SSLContext) -> Answer:
    """One GET over TLS with the host name as SNI and Host."""
    import http.client
    import socket

    begun = time.monotonic()
    try:
        with (
            socket.create_connection((address, port), TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=hostname) as secured,
        ):
            connection = http.client.HTTPSConnection(hostname, port)
            connection.sock = secured
            connection.request("GET", path, headers={"Host": hostname, "User-Agent": "phoenix-probe"})
            response = connection.getresponse()
            body = response.read(65536)
            issuer = _issuer(secured)
    except (OSError, http.client.HTTPException) as error:
        return Answer(hostname, router, None, None, None, time.monotonic() - begun, str(error) or type(error).__name__)
    return Answer(hostname, router, response.status, _name(body), issuer, time.monotonic() - begun)


def _issuer(secured: ssl.SSLSocket) -> str | None:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    encoded = secured.getpeercert(binary_form=True)
    if not encoded:
        return None
    names = x509.load_der_x509_certificate(encoded).issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else None


def _name(body: bytes) -> str | None:
    try:
        data: Any = json.loads(body)
    except ValueError:
        return None
    name = data.get("service") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


def tls_context(root: Path | None, insecure: bool) -> ssl.SSLContext:
    """Verifies against the system's CAs and ``root``, or not at all."""
    from phoenix.errors import InputError

    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif root:
        try:
            context.load_verify_locations(root)
        except (OSError, ssl.SSLError) as error:
            raise InputError([f"{root}: it holds no CA certificate ({error}): name another --root."]) from None
    return context


@click.command()
@click.option("--outputs", type=click.File("rb"), required=True, help="`pulumi stack output --json`; - for stdin.")
@click.option("--address", metavar="HOST:PORT", help="Where to send the requests; by default the gateway.")
@click.option("--path", default="/", show_default=True, help="Path to ask for.")
@click.option("--root", type=click.Path(path_type=Path), help="CA certificate to trust besides the system's.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@click.option("--wait", default=0.0, metavar="SECONDS", help="Ask again until all are answered 200, for so long.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def probe(
    outputs: Any, address: str | None, path: str, root: Path | None, insecure: bool, wait: float, as_json: bool
) -> None:
    """Send a real request for every routed host name and show who answers. Exits 4 where one is not answered 200."""
    from phoenix.cli.table import render_table
    from phoenix.errors import InputError

    try:
        data = json.loads(outputs.read())
        routes, gateway = data["routes"], data.get("gateway")
    except (ValueError, KeyError, TypeError):
        raise InputError(
            ["--outputs holds no outputs of this program: give it `pulumi stack output --json`."]
        ) from None
    host, port = _target(address, gateway)
    context = tls_context(root, insecure)
    wanted = [(hostname, name) for name, route in sorted(routes.items()) for hostname in route["hostnames"]]
    answers = _answers(wanted, lambda hostname, name: ask(host, port, hostname, name, path, context), wait)
    if as_json:
        click.echo(json.dumps([asdict(answer) for answer in answers], indent=2))
    else:
        rows = [
            (
                answer.hostname,
                str(answer.status or "-"),
                answer.served_by or answer.error or "-",
                f"{answer.seconds * 1000:.0f} ms",
                answer.issuer or "-",
            )
            for answer in answers
        ]
        click.echo(
            render_table(("HOST NAME", "STATUS", "ANSWERED BY", "TIME", "CERTIFICATE FROM"), rows, empty="No routes.")
        )
    if any(answer.status != 200 for answer in answers):
        raise click.exceptions.Exit(4)


def _answers(wanted: list[tuple[str, str]], ask_one: Callable[[str, str], Answer], wait: float) -> list[Answer]:
    """An answer for each host name; those that are not 200 are asked again until the time is up."""
    deadline = time.monotonic() + wait
    answers = {hostname: ask_one(hostname, name) for hostname, name in wanted}
    while missing := [(hostname, name) for hostname, name in wanted if answers[hostname].status != 200]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.2)
        answers |= {hostname: ask_one(hostname, name) for hostname, name in missing}
    return [answers[hostname] for hostname, _ in wanted]


def _target(address: str | None, gateway: Any) -> tuple[str, int]:
    from phoenix import names
    from phoenix.errors import InputError

    if address:
        host, _, port = address.rpartition(":")
        try:
            return host.strip("[]"), names.port(port)
        except ValueError as error:
            raise InputError([f"--address is {address!r}: its port {error}."]) from None
    if not isinstance(gateway, dict):
        raise InputError(["--address is missing, and the outputs name no gateway: say where to send the requests."])
    return str(gateway["address"]), int(gateway["port"])
