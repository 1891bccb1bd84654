"""The lab's plan, names and files: the parts that need neither root nor namespaces."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.container import cgroups, host, images, keys, mounts, plan, rootfs, settings
from lab.container.certificates import Authority
from lab.container.errors import ContainerLabError, MissingRequirementError
from lab.container.network import Network
from phoenix.settings import parse

REPOSITORY = Path(__file__).resolve().parents[2]
NETWORK = Network("198.18.10")


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(plan.BUILT_IN, tmp_path / "inventory"))


def change(directory: Path, name: str, edit: Any) -> None:
    path = directory / f"phoenix_{name}.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


class TestNetwork:
    def test_names_fit_and_differ_between_networks(self) -> None:
        other = Network("198.19.255")
        for network in (NETWORK, other):
            assert len(network.bridge) <= 15
            assert len(network.link("1002")) <= 15
        assert NETWORK.bridge != other.bridge
        assert NETWORK.link("102") != other.link("102")
        assert not other.link("").startswith(NETWORK.link(""))

    @pytest.mark.parametrize(
        "prefix", ["10.0.0", "127.10", "198.20.1", "198.18.256", "198.18.10.0", "a.b.c", "", "; id"]
    )
    def test_other_networks_are_refused(self, prefix: str) -> None:
        with pytest.raises(ContainerLabError, match=r"^network: ") as caught:
            Network(prefix)
        assert "198.18.10" in str(caught.value)


class TestPlan:
    def test_built_in_inventory(self) -> None:
        found = plan.load(None, NETWORK)
        roles = {machine.number: machine.role for machine in found.machines}
        assert roles == {"101": "gateway", "102": "traefik", "103": "authority", "1001": "portainer", "1002": "agent"}
        assert found.machine("traefik").address == "198.18.10.12"
        ports = {backend.name: backend.port for backend in found.backends}
        assert ports == {
            "embedding": 8000,
            "granite-3.3-8b": 8000,
            "ollama": 11434,
            "llamacpp": 8081,
            "dashboard": 3000,
        }

    def test_another_network_moves_every_address(self) -> None:
        found = plan.load(None, Network("198.18.77"))
        assert all(guest.address.startswith("198.18.77.") for guest in found.machines)
        assert not any("198.18.10." in text for text in found.texts.values())

    def test_an_inventory_of_another_network_is_moved(self, inventory: Path) -> None:
        for path in inventory.glob("*.json"):
            path.write_text(path.read_text().replace("198.18.10.", "10.0.0."))
        assert plan.load(inventory, NETWORK).texts == plan.load(None, NETWORK).texts

    def test_names_that_do_not_lead_to_traefik(self) -> None:
        records = plan.load(None, NETWORK).internal_records()
        assert records["ca.internal.example.test"] == "198.18.10.10"
        assert records["workloads.internal.example.test"] == "198.18.10.102"
        assert "portainer.internal.example.test" not in records
        assert records["portainer.example.test"] == "198.18.10.153", "as the inventory's own DNS zones say"

    def test_the_gateways_certificate_covers_names_with_dots(self) -> None:
        names = plan.load(None, NETWORK).gateway_names()
        assert "*.internal.example.test" in names
        assert "granite-3.3-8b.internal.example.test" in names, "a wildcard covers one label"

    def test_mistakes_are_one_sentence_with_file_and_remedy(self, inventory: Path) -> None:
        (inventory / "phoenix_vm_configs.json").write_text("{")
        with pytest.raises(ContainerLabError, match=r"phoenix_vm_configs\.json: is not JSON"):
            plan.load(inventory, NETWORK)
        (inventory / "phoenix_vm_configs.json").unlink()
        with pytest.raises(ContainerLabError, match=r"phoenix_vm_configs\.json: cannot be read"):
            plan.load(inventory, NETWORK)

    def test_a_missing_role(self, inventory: Path) -> None:
        change(inventory, "lxc_configs", lambda data: data["lxc_configs"].pop("102"))
        with pytest.raises(ContainerLabError, match="no guest has the role traefik"):
            plan.load(inventory, NETWORK)

    def test_an_address_that_is_taken(self, inventory: Path) -> None:
        def edit(data: dict[str, Any]) -> None:
            data["lxc_configs"]["801"]["network_config"]["ip"] = "198.18.10.12/24"

        change(inventory, "lxc_configs", edit)
        with pytest.raises(ContainerLabError, match=r"guest 801 has the address 198\.18\.10\.12, which guest 102 has"):
            plan.load(inventory, NETWORK)

    def test_a_missing_subnet(self, inventory: Path) -> None:
        change(inventory, "hypervisor_config", lambda data: data.update(network={}))
        with pytest.raises(ContainerLabError, match=r"network\.default_subnet is missing"):
            plan.load(inventory, NETWORK)

    @pytest.mark.parametrize("stack", ["local", "production"])
    def test_the_stacks_own_inventories(self, stack: str) -> None:
        directory = REPOSITORY / "stacks" / "inventory" / stack
        if not directory.is_dir():
            pytest.skip(f"{directory} is not there")
        found = plan.load(directory, NETWORK)
        assert found.machine("portainer").address.startswith("198.18.10.")
        assert found.backends


class TestSettings:
    def test_they_are_what_the_program_reads(self, tmp_path: Path) -> None:
        found = plan.load(None, NETWORK)
        pairs = {machine.number: keys.generate() for machine in found.machines}
        values = settings.compose(found, tmp_path, pairs, "/etc/step-ca/ssl/phoenix_root_ca.crt", docker=True)
        read = parse(values, "settings.yaml")
        connection = read.traefik.connection
        assert connection is not None
        assert (connection.host, connection.user, connection.port) == ("198.18.10.12", "root", 22)
        assert connection.host_key == pairs["102"].public
        assert read.certificate_authority.url == "https://ca.internal.example.test:9000"
        assert set(read.portainer.agents) == {"workloads"}
        assert read.portainer.certificate_file == str(tmp_path / "portainer.crt")
        assert read.portainer.admin_password is not None
        assert len(read.portainer.admin_password.get_secret_value()) >= 12, "Portainer refuses shorter ones"

    def test_without_docker_the_labs_own_service_is_deployed(self, tmp_path: Path) -> None:
        found = plan.load(None, NETWORK)
        pairs = {machine.number: keys.generate() for machine in found.machines}
        program = tmp_path / "traefik"
        program.write_bytes(b"a program")
        values = settings.compose(found, tmp_path, pairs, "/root.crt", docker=False, program=program)
        read = parse(values, "settings.yaml")
        assert read.traefik.install is not None
        assert (read.traefik.install.file, read.traefik.install.sha256) == (
            str(program),
            hashlib.sha256(b"a program").hexdigest(),
        )
        assert read.portainer.deploy_command == "systemctl start lab-answer.service"
        assert read.portainer.certificate_file is None

    def test_secrets_are_private_and_all_of_it_goes(self, tmp_path: Path) -> None:
        found, directory = plan.load(None, NETWORK), tmp_path / "lab"
        pairs = {machine.number: keys.generate() for machine in found.machines} | {"hv": keys.generate()}
        values = settings.compose(found, directory, pairs, "/root.crt", docker=False)
        settings.write(
            directory, found, values, client=keys.generate(), host_keys=pairs, roots={"internal": "", "public": ""},
            guests=tmp_path, portainer=Authority("a root").issue(["portainer.example.test"]),
        )  # fmt: skip
        assert yaml.safe_load((directory / "settings.yaml").read_text()) == values
        assert {
            (directory / name).stat().st_mode & 0o777 for name in ("settings.yaml", "id_ed25519", "portainer.key")
        } == {0o600}
        settings.remove(directory)
        assert not directory.exists()

    def test_files_of_others_stay(self, tmp_path: Path) -> None:
        (tmp_path / "settings.yaml").write_text("traefik: {}\n")
        settings.remove(tmp_path)
        assert (tmp_path / "settings.yaml").exists()


class TestImages:
    def test_tags_follow_the_inventory(self, tmp_path: Path, inventory: Path) -> None:
        def edit(data: dict[str, Any]) -> None:
            data["docker"]["portainer_server_image"] = "portainer/portainer-ce:2.41.7"

        change(inventory, "hypervisor_config", edit)
        base, blobs = tmp_path / "base-0", tmp_path / "blobs"
        (base / "usr/lib/python3.11").mkdir(parents=True)
        for name in ("usr/bin", "usr/lib", "usr/lib64", "etc", "tmp"):
            (base / name).mkdir(parents=True, exist_ok=True)
        for name in (*images.PROGRAMS, "bin", "lib", "lib64", "etc/passwd", "etc/group"):
            (base / name).touch()
        blobs.mkdir()
        found = images.prepare(base, blobs, plan.load(inventory, NETWORK))
        tags = found["portainer/portainer-ce"]["tags"]
        assert {"2.23.0", "2.39.0", "2.41.7", "latest"} <= set(tags)
        manifest = json.loads((blobs / tags["2.41.7"].removeprefix("sha256:")).read_bytes())
        for part in (manifest["config"], *manifest["layers"]):
            content = (blobs / part["digest"].removeprefix("sha256:")).read_bytes()
            assert hashlib.sha256(content).hexdigest() == part["digest"].removeprefix("sha256:")
            assert len(content) == part["size"]
        config = json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes())
        assert "PORTAINER_MODE=2.41" in config["config"]["Env"]
        for layer, difference in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            packed = (blobs / layer["digest"].removeprefix("sha256:")).read_bytes()
            assert f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}" == difference


class TestMachine:
    def test_without_root_one_sentence_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        reason = host.missing_right()
        assert reason is not None
        assert "needs root" in reason
        with pytest.raises(MissingRequirementError) as caught:
            host.prepare(lambda _: None)
        assert (str(caught.value), caught.value.exit_code) == (reason, 69)

    def test_a_missing_capability_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(host, "_effective_capabilities", lambda: ~(1 << 21))
        assert host.missing_right() == (
            "The container lab needs CAP_SYS_ADMIN: start this machine's container with it."
        )

    def test_hierarchies_of_unified_and_hybrid_machines(self) -> None:
        unified = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\nproc /proc proc rw 0 0\n"
        assert cgroups.hierarchies(unified) == [Path("/sys/fs/cgroup")]
        hybrid = (
            "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n"
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
        )
        assert cgroups.hierarchies(hybrid) == [Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified")]

    def test_mounts_below_a_directory_innermost_first(self) -> None:
        targets = ("/run/x", "/run/x/root", "/run/xy", "/run/x/a\\040b")
        text = "".join(f"none {target} tmpfs rw 0 0\n" for target in targets)
        assert mounts.below(Path("/run/x"), text) == [Path("/run/x/a b"), Path("/run/x/root"), Path("/run/x")]

    def test_the_recipe_names_the_cache_entry(self) -> None:
        assert rootfs.Recipe().key == rootfs.Recipe().key
        assert rootfs.Recipe().key != rootfs.Recipe(packages=("systemd",)).key
        assert rootfs.Recipe().key != rootfs.Recipe(configure="").key

    def test_a_program_layer_is_made_once_and_never_changes_the_program(self, tmp_path: Path) -> None:
        program = tmp_path / "traefik-3"
        program.write_bytes(b"#!/bin/sh\n")
        program.chmod(0o755)
        said: list[str] = []
        layer = rootfs.ensure_program(program, "traefik", said.append, tmp_path / "cache")
        assert (layer / "usr/local/bin/traefik").read_bytes() == b"#!/bin/sh\n"
        assert rootfs.ensure_program(program, "traefik", said.append, tmp_path / "cache") == layer
        program.unlink()
        program.write_bytes(b"#!/bin/sh\nexit 1\n")
        other = rootfs.ensure_program(program, "traefik", said.append, tmp_path / "cache")
        assert other != layer
        assert (other / "usr/local/bin/traefik").read_bytes() == b"#!/bin/sh\nexit 1\n"

    def test_entries_of_the_cache_that_nothing_uses_go(self, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_bytes(b"1")
        old, new = tmp_path / "cache/base-old", tmp_path / "cache/base-new.tar.zst"
        old.mkdir(parents=True)
        new.touch()
        long_ago = time.time() - 15 * 24 * 3600
        os.utime(old, (long_ago, long_ago))
        (tmp_path / "cache/base-0").mkdir()
        recipe = rootfs.Recipe()
        (tmp_path / f"cache/base-{recipe.key}").mkdir()
        os.utime(tmp_path / f"cache/base-{recipe.key}", (long_ago, long_ago))
        assert rootfs.ensure_base(lambda _: None, recipe, tmp_path / "cache").is_dir(), "what is in use stays"
        assert not old.exists()
        assert new.exists()

    def test_certificates_name_hosts_and_addresses(self) -> None:
        from cryptography import x509

        root = Authority("a root")
        issued = x509.load_pem_x509_certificate(root.issue(["*.example.test", "198.18.10.12"]).certificate.encode())
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["*.example.test"]
        assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["198.18.10.12"]
        issued.verify_directly_issued_by(x509.load_pem_x509_certificate(root.root.encode()))
