"""A service for tests: speaks sd_notify, pings the watchdog, answers on sockets it inherits.

Standard library only; started as ``python -I -S service.py OPTION…``.
"""

import os
import signal
import socket
import sys
import time

OPTIONS = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
_reload: list[int] = []


def notify(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(message.encode(), address)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def answer(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        with connection:
            connection.settimeout(5)
            connection.sendall(f"{os.getpid()} {os.environ.get('LISTEN_FDNAMES', '')}\n".encode())


def run_away(path: str) -> None:
    """Leave a process behind that is away from its parent and its session, as old daemons go."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(path, "w") as file:  # noqa: PTH123
        file.write(str(os.getpid()))
    time.sleep(600)


def main() -> None:
    if "ignore-term" in OPTIONS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "on-hup" in OPTIONS:
        signal.signal(signal.SIGHUP, lambda *_: _reload.append(1))
    say(f"pid {os.getpid()}")
    for name in OPTIONS.get("print", "").split(","):
        if name:
            say(f"{name}={os.environ.get(name, '<unset>')}")
    listeners = []
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        for number in range(int(os.environ["LISTEN_FDS"])):
            listener = socket.socket(fileno=3 + number)
            listener.setblocking(False)
            listeners.append(listener)
    time.sleep(float(OPTIONS.get("before-ready", "0")))
    if "child-ready" in OPTIONS and os.fork() == 0:
        notify("READY=1")
        os._exit(0)
    if "ready" in OPTIONS:
        notify("READY=1\nSTATUS=at work")
    if "daemon" in OPTIONS:
        run_away(OPTIONS["daemon"])
    pings = int(OPTIONS.get("pings", "0"))
    until = time.monotonic() + float(OPTIONS.get("for", "600"))
    while time.monotonic() < until:
        if pings:
            notify("WATCHDOG=1")
            pings -= 1
        answer(listeners)
        if _reload:
            _reload.clear()
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            say("reloaded")
            time.sleep(float(OPTIONS.get("reload-takes", "0")))
            notify("READY=1")
        time.sleep(0.01)
    sys.exit(int(OPTIONS.get("exit", "0")))


main()
