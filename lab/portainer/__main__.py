"""``python -m lab.portainer``: the stand-in as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click

from lab.portainer.modes import MODES
from lab.portainer.server import StandIn

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--mode", type=click.Choice(sorted(MODES)), default="2.39", show_default=True, help="Version to play.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9443, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--certificate", type=_FILE, required=True, help="PEM file with the certificate chain.")
@click.option("--key", type=_FILE, required=True, help="PEM file with the private key.")
@click.option("--state", type=_FILE, help="File that keeps users, environments and stacks over restarts.")
@click.option("--log", type=_FILE, help="File that gets a JSON line for each request.")
@click.option("--setup-token-file", type=_FILE, help="File with the set-up token (2.43); by default one is made.")
@click.option("--deploy-seconds", type=click.FloatRange(0), default=0.2, show_default=True, help="Time a stack takes.")
def main(
    mode: str,
    host: str,
    port: int,
    certificate: Path,
    key: Path,
    state: Path | None,
    log: Path | None,
    setup_token_file: Path | None,
    deploy_seconds: float,
) -> None:
    """Answer like Portainer's API over TLS."""
    try:
        server = StandIn(mode, certificate=certificate, key=key, host=host, port=port, state_file=state, log_file=log)
        if setup_token_file is not None:
            server.api.setup_token = setup_token_file.read_text(encoding="utf-8").strip()
        server.api.deploy_seconds = deploy_seconds
        server.start()
    except OSError as error:
        raise click.ClickException(f"the stand-in cannot start on {host}:{port}: {error}") from None
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    sys.stdout.write(f"portainer {server.api.mode.version} on https://{host}:{server.port}\n")
    sys.stdout.flush()
    ended.wait()
    server.stop()


if __name__ == "__main__":
    main()
