"""One start of the lab, step by step."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.container import (
    backend_process,
    guest_config,
    images,
    machines,
    network,
    power,
    roles,
    services,
    settings,
    state,
    workstation,
)
from lab.container.authorities import READY_SECONDS, add_name, issuing_root, listens
from lab.container.certificates import Authority
from lab.container.errors import ContainerLabError
from lab.container.host import Report
from lab.container.keys import KeyPair, generate
from lab.container.machines import Boot, Runtime
from lab.container.plan import BACKENDS, PUBLIC_AUTHORITY, REGISTRY, Machine, Plan
from lab.container.processes import identify, run, wait_until
from lab.container.rootfs import Layers

ROOT_FILE = "/etc/step-ca/ssl/phoenix_root_ca.crt"
_TRUST_STORE = "/etc/ssl/certs/ca-certificates.crt"


class Start:
    """One start, step by step."""

    def __init__(self, runtime: Runtime, plan: Plan, directory: Path, layers: Layers, owner: int | None) -> None:
        self.runtime, self.plan, self.directory, self.layers = runtime, plan, directory, layers
        self.owner = identify(owner) if owner is not None else None
        self.internal, self.public = Authority("Phoenix lab internal root"), Authority("Phoenix lab public root")
        names = [plan.portainer_hostname, f"portainer.{plan.internal_domain}", plan.machine("portainer").address]
        self.portainer = self.internal.issue(list(dict.fromkeys(names)))
        self.client = generate()
        self.host_keys: dict[str, KeyPair] = {}
        self.guests: dict[str, dict[str, Any]] = {}
        self.stacked: dict[str, list[Path]] = {}

    def run(self, report: Report) -> dict[str, Any]:
        """Do it all; returns the settings written."""
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
        if plan.backends:
            self.guests[BACKENDS] = backend_process.launch(runtime, plan)
        if self.layers.docker is not None:
            self._registry()
        self._save()
        report(f"booting {len(boots)} guests on {runtime.network.prefix}.0/24")
        with ThreadPoolExecutor(len(boots)) as pool:
            list(pool.map(Boot.wait, boots))
        self._records()
        self._trust()
        self._reachable()
        for machine in plan.machines:
            power.keep(runtime, machine.number)
        return self._write()

    def _internet(self) -> None:
        """The public CA and the DNS server that the world sees."""
        runtime, address = self.runtime, self.plan.internet
        root = machines.mount_root(runtime, "inet", [self.layers.base])
        machines.write(root, "/etc/hostname", "internet\n")
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

    def _registry(self) -> None:
        """What the VMs take for Docker's own registry."""
        blobs = self.runtime.directory / "images"
        blobs.mkdir()
        issued = self.public.issue([REGISTRY, self.plan.internet])
        configuration: dict[str, Any] = {
            "address": self.plan.internet,
            "port": 443,
            "certificate": str(blobs / "server.crt"),
            "key": str(blobs / "server.key"),
            "blobs": str(blobs),
            "images": images.prepare(self.layers.base, blobs, self.plan),
        }
        machines.write(blobs, "server.crt", issued.certificate)
        machines.write(blobs, "server.key", issued.key, 0o600)
        machines.write(blobs, "registry.json", json.dumps(configuration))
        script = str(Path(images.__file__).with_name("registry.py"))
        self._process("registry", "inet", None, [sys.executable, "-I", script, str(blobs / "registry.json")])

    def _hypervisor(self) -> None:
        """The hypervisor's side: sshd with ``pct`` and ``qm``, and the internal DNS server."""
        root = machines.mount_root(self.runtime, "hv", [self.layers.base])
        self._identity(root, "hv", "hypervisor", self.plan.hypervisor)
        roles.hypervisor(root)
        records = services.dns_server(self.plan.hypervisor, self.plan.machine("traefik").address)
        self._process("dns-internal", "hv", root, records)
        self._process("hv", "hv", root, ["/usr/sbin/sshd", "-D", "-e"])
        self.guests["hv"] |= {"name": "hypervisor", "address": self.plan.hypervisor}

    def _process(
        self, name: str, guest: str, root: Path | None, argv: Sequence[str], environment: dict[str, str] | None = None
    ) -> None:
        """Start a process in a guest's namespace."""
        self.guests[name] = machines.launch(self.runtime, name, guest, root, argv, environment)
        self.guests[name]["address"] = self.plan.namespaces()[guest][0]

    def _prepare(self, machine: Machine) -> None:
        """Mount a guest's root and write what makes it this guest."""
        programs = {"traefik": self.layers.traefik, "authority": self.layers.step_ca}
        above = self.layers.docker if machine.kind == "vm" else programs.get(machine.role)
        layers = [layer for layer in (above, self.layers.base) if layer is not None]
        self.stacked[machine.number] = layers
        root = machines.mount_root(self.runtime, machine.number, layers)
        self._identity(root, machine.number, machine.name.lower(), machine.address)
        if machine.role == "gateway":
            roles.gateway(root, self.plan, self.public)
        elif machine.role == "authority":
            role = roles.authority if self.layers.step_ca is None else roles.step_ca
            role(root, self.plan, self.internal)
        elif machine.role == "portainer":
            roles.portainer(root, self.plan, self.portainer, answer=self.layers.docker is None)
        if machine.kind == "vm" and self.layers.docker is not None:
            roles.docker(root)

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
        binds: dict[Path, str] = {}
        if machine.kind == "vm" and self.layers.docker is not None:
            # Docker's own overlays cannot have their upper layers on the guest's overlay.
            for name in ("docker", "containerd"):
                source = self.runtime.directory / "data" / machine.number / name
                source.mkdir(parents=True)
                binds[source] = f"/var/lib/{name}"
        boot = Boot(self.runtime, machine.number, vm=machine.kind == "vm", binds=binds)
        self.guests[machine.number] = {
            "name": machine.name, "address": machine.address, "kind": machine.kind, "booted": True,
            "pid": boot.process.pid, "started": boot.process.started, "config": guest_config.of(machine),
            "layers": [str(layer) for layer in self.stacked[machine.number]],
            "data": [source.name for source in binds],
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
        internal = self.internal.root
        if self.layers.step_ca is None:
            internal += issuing_root(authority.address, self.internal.root)
        public = self.public.root + issuing_root(self.plan.internet, self.public.root)
        self.roots = {"internal": internal, "public": public}
        workstation.prepare(self.runtime, self.plan.hypervisor, public + internal)
        for guest in ("hv", *(machine.number for machine in self.plan.machines)):
            root = self.runtime.root(guest)
            store = (root / _TRUST_STORE.lstrip("/")).read_text() + public
            machines.write(root, ROOT_FILE, internal)
            machines.write(root, _TRUST_STORE, store + internal)

    def _reachable(self) -> None:
        """Wait until everything that listens can be reached from the host."""
        portainer, authority = self.plan.machine("portainer"), self.plan.machine("authority")
        answer = [(portainer.address, self.plan.portainer_port)] if self.layers.docker is None else []
        wanted = [
            (guest["address"], 22) for guest in self.guests.values() if guest["booted"] or guest["name"] == "hypervisor"
        ]
        wanted += [(self.plan.machine("gateway").address, 443), *answer]
        wanted += [(authority.address, services.CA_PORT), *((one.address, one.port) for one in self.plan.backends)]
        for address, port in wanted:
            if not wait_until(lambda address=address, port=port: listens(address, port), READY_SECONDS):  # type: ignore[misc]
                raise ContainerLabError(
                    f"{address}:{port} does not answer within {READY_SECONDS:g} s: "
                    "check that no firewall of this machine filters bridged traffic."
                )

    def _write(self) -> dict[str, Any]:
        result = settings.compose(
            self.plan,
            self.directory,
            self.host_keys,
            ROOT_FILE,
            docker=self.layers.docker is not None,
            program=self.layers.traefik / "usr/local/bin/traefik",
        )
        settings.write(
            self.directory,
            self.plan,
            result,
            client=self.client,
            host_keys=self.host_keys,
            roots=self.roots,
            portainer=self.portainer,
            guests=state.path(self.runtime).parent,
        )
        self._save()
        return result

    def _save(self) -> None:
        owner = None if self.owner is None else {"pid": self.owner.pid, "started": self.owner.started}
        state.write(
            self.runtime,
            {
                "directory": str(self.directory),
                "network": self.runtime.network.prefix,
                "owner": owner,
                "guests": self.guests,
                "stubs": guest_config.stubs(self.plan),
            },
        )
