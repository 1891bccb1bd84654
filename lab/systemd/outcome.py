"""What a process' end means: systemd.service(5), "Exit status" and ``Restart=``."""

from __future__ import annotations

import os
import signal

from lab.systemd import spawn
from lab.systemd.settings import ServiceSettings

CLEAN_SIGNALS: frozenset[int] = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE})
_EXIT_NAMES = {0: "SUCCESS", 1: "FAILURE", 2: "INVALIDARGUMENT", 3: "NOTIMPLEMENTED", 5: "NOTINSTALLED", **spawn.STEPS}


def result_of(status: int, settings: ServiceSettings, clean_signals: frozenset[int] = frozenset()) -> str:
    """``success``, ``exit-code``, ``signal`` or ``core-dump``.

    Args:
        status: as wait(2) gives it.
        settings: ``SuccessExitStatus=`` counts.
        clean_signals: those that count as success.
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in clean_signals or -number in settings.success_status:
            return "success"
        return "core-dump" if os.WCOREDUMP(status) else "signal"
    code = os.WEXITSTATUS(status)
    return "success" if code == 0 or code in settings.success_status else "exit-code"


def describe(status: int) -> str:
    """As the journal says it: ``code=exited, status=1/FAILURE``."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        code = "dumped" if os.WCOREDUMP(status) else "killed"
        return f"code={code}, status={number}/{signal_name(number).removeprefix('SIG')}"
    number = os.WEXITSTATUS(status)
    return f"code=exited, status={number}/{_EXIT_NAMES.get(number, 'n/a')}"


def signal_name(number: int) -> str:
    """``SIGTERM``; for a real-time signal ``SIGRTMIN+n``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def wants_restart(settings: ServiceSettings, result: str, status: int | None) -> bool:
    """Whether ``Restart=`` and its exceptions start the service again.

    Args:
        settings: the service's.
        result: how the run ended.
        status: the main process' wait status; None when it had none.
    """
    if status is not None:
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if code in settings.prevent_status:
            return False
        if code in settings.force_status:
            return True
    return {
        "no": False,
        "always": result != "exec-condition",
        "on-success": result == "success",
        "on-failure": result not in {"success", "exec-condition"},
        "on-abnormal": result not in {"success", "exit-code", "exec-condition"},
        "on-watchdog": result == "watchdog",
        "on-abort": result in {"signal", "core-dump"},
    }[settings.restart]
