"""Scripts in a virtual machine, through the QEMU guest agent: ``qm guest exec``.

The answer is JSON with ``exitcode`` (or ``signal``), ``out-data`` and ``err-data``
(https://pve.proxmox.com/pve-docs/qm.1.html). The agent's channel is made for text, takes 1 MiB of input, and returns
16 MiB of output at most; so all streams travel as base64, and larger input goes in pieces to a file in the guest.
"""

from __future__ import annotations

import base64
import binascii
import json
import shlex
import time
from typing import Any

from phoenix.errors import CommandError, UnreachableError
from phoenix.remote import loop
from phoenix.remote.guests import ANSWER_MARGIN, ShellTransport, raise_for_limits
from phoenix.remote.streams import RawAnswer
from phoenix.remote.transport import Completed, first_line, raise_for_exit
from phoenix.remote.wrapping import KILL_GRACE, check_script, qemu_arguments

PIECE = 768 * 1024
"""Bytes of input per command: as base64 they are exactly the 1 MiB that ``--pass-stdin`` takes."""


class QemuTransport(ShellTransport):
    """Runs scripts in a VM whose guest agent runs."""

    def run(self, script: str, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True) -> Completed:
        """See :meth:`phoenix.remote.transport.Transport.run`."""
        check_script(script)
        limit = self.connection.command_timeout if timeout is None else timeout
        bring = self._once if len(stdin) <= PIECE else self._with_spool
        completed = bring(script, stdin, limit)
        return raise_for_exit(completed) if check else completed

    def warm_up(self) -> None:
        """Nothing: the guest agent keeps no shell."""

    def _with_spool(self, script: str, stdin: bytes, limit: float) -> Completed:
        """Bring large input over in pieces, to a file that only root reads and that goes when the script ends."""
        made = raise_for_exit(
            self._once(
                "umask 077; d=$(mktemp -d /run/phoenix.XXXXXX 2>/dev/null || mktemp -d) && "
                'cat >"$d/input" && printf %s "$d"',
                stdin[:PIECE],
                limit,
            )
        )
        directory = shlex.quote(made.stdout.decode())
        try:
            for start in range(PIECE, len(stdin), PIECE):
                raise_for_exit(self._once(f"cat >>{directory}/input", stdin[start : start + PIECE], limit))
            return self._once(f"exec <{directory}/input && rm -rf -- {directory} || exit 125\n{script}", b"", limit)
        except BaseException:
            self._once(f"rm -rf -- {directory}", b"", limit)
            raise

    def _once(self, script: str, stdin: bytes, limit: float) -> Completed:
        encoded = base64.b64encode(stdin)
        started = time.monotonic()
        arguments = qemu_arguments(self.connection, script, limit, with_stdin=bool(encoded))
        answer = loop.call(self._carrier.execute(arguments, encoded, limit + KILL_GRACE + 10 + ANSWER_MARGIN))
        elapsed = time.monotonic() - started
        command = f"the command on {self.description}"
        if answer.timed_out or answer.overflowed:
            raise_for_limits(Completed(command, answer.exit_code), answer, elapsed, limit)
        result = self._parse(answer)
        if not result.get("exited"):
            raise_for_limits(Completed(command, 137), RawAnswer(137, timed_out=True), elapsed, limit)
        if result.get("out-truncated") or result.get("err-truncated"):
            raise CommandError(f"{command} wrote more than the guest agent returns (16 MiB): let it write less.")
        code = result.get("exitcode")
        if code is None:
            code = 128 + int(result.get("signal") or 127)
        completed = Completed(command, int(code), _decoded(result.get("out-data")), _decoded(result.get("err-data")))
        raise_for_limits(completed, answer, elapsed, limit)
        return completed

    def _parse(self, answer: RawAnswer) -> dict[str, Any]:
        """Read qm's answer.

        Raises:
            UnreachableError: qm gave none.
        """
        try:
            result = json.loads(answer.stdout)
        except ValueError:
            result = None
        if isinstance(result, dict):
            return result
        heard = first_line(answer.stderr) or first_line(answer.stdout) or f"exit code {answer.exit_code}"
        raise UnreachableError(
            f"{self.description} runs no command ({heard}): {_remedy(heard.lower(), self.connection.guest)}."
        )


def _remedy(heard: str, guest: int | None) -> str:
    if heard.startswith("sudo:"):
        return "let the user run sudo without a password, or set sudo: false"
    if "agent" in heard:
        return f"install qemu-guest-agent in the VM, start it, and switch it on with `qm set {guest} --agent 1`"
    if "not running" in heard:
        return f"start it with `qm start {guest}`"
    if "does not exist" in heard:
        return f"correct guest, there is no VM {guest} on that hypervisor"
    if "not found" in heard:
        return "qm is missing there: correct host or transport"
    return "try `qm guest exec` by hand on the hypervisor"


def _decoded(data: object) -> bytes:
    """Undo the base64 that the bootstrap put around a stream; what is none came before it, from the shell itself."""
    text = data.encode("utf-8", "replace") if isinstance(data, str) else b""
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return text
