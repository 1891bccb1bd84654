"""The guests' root file system: Debian made once by debootstrap, kept as a tar.zst, the lower layer of every guest.

The recipe's hash names the cache entry: a changed recipe is a new entry, an unchanged one is never built again.
A build happens aside and is renamed into place, so that a killed build leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.container import mounts
from lab.container.host import Report
from lab.container.processes import run

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("PHOENIX_LAB_CACHE", REPOSITORY / ".cache" / "lab"))
MIRROR = os.environ.get("PHOENIX_LAB_MIRROR", "http://deb.debian.org/debian")

STEP_CA = "v0.30.2"
_KEPT_SECONDS = 14 * 24 * 3600
_SUITE = "bookworm"
_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "curl",
    "ca-certificates",
    "iproute2",
    "procps",
    "nginx",
    "pebble",
    "python3",
)

_DOCKER_PACKAGES = ("docker.io", "docker-compose", "iptables")
# Overlay attributes are kept; level 3 on all cores packs 240 MB into 59 and unpacks in half a second.
_ATTRIBUTES = ("--xattrs", "--xattrs-include=trusted.overlay.*", "--numeric-owner")
_PACK = ("tar", "--use-compress-program=zstd -T0 -3", *_ATTRIBUTES, "-cpf")
_UNPACK = ("tar", "--zstd", *_ATTRIBUTES, "-xpf")

# Runs in a root whose packages are its arguments. policy-rc.d keeps them from starting anything.
_INSTALL = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
apt-get update --quiet
apt-get install --yes --quiet --no-install-recommends "$@"
rm -rf /usr/sbin/policy-rc.d /etc/resolv.conf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc /usr/share/man
"""

# Runs in the new root. Units that only cost start-up time are masked; logins need no PAM session.
_CONFIGURE = r"""
set -eu
rm -f /etc/ssh/ssh_host_*
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /usr/share/doc /usr/share/man /usr/share/locale
rm -f /etc/nginx/sites-enabled/default /etc/machine-id /etc/hostname /var/lib/dbus/machine-id
: >/etc/machine-id
cat >/etc/ssh/sshd_config.d/lab.conf <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
MaxStartups 200
MaxSessions 200
END
for unit in console-getty.service getty.target systemd-logind.service dbus-org.freedesktop.login1.service \
    systemd-networkd.service \
    systemd-resolved.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer fstrim.timer \
    e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-modules-load.service modprobe@.service \
    sys-fs-fuse-connections.mount dev-hugepages.mount; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
rm -f /etc/systemd/system/multi-user.target.wants/nginx.service
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >/etc/systemd/journald.conf.d/lab.conf
groupadd --system traefik
useradd --system --gid traefik --home-dir /var/lib/traefik --no-create-home --shell /usr/sbin/nologin traefik
useradd --create-home --shell /bin/bash --password '*' phoenix_user
printf 'phoenix_user ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/phoenix_user
chmod 0440 /etc/sudoers.d/phoenix_user
mkdir -p /run/sshd /etc/traefik /root/.ssh /home/phoenix_user/.ssh
chmod 0700 /root/.ssh /home/phoenix_user/.ssh
chown phoenix_user:phoenix_user /home/phoenix_user/.ssh
"""


@dataclass(frozen=True, slots=True)
class Layers:
    """What guests' roots are stacked from.

    Attributes:
        base: the root file system of every guest.
        traefik: the program of CT 102.
        docker: Docker for the VMs; None where they have none.
        step_ca: the program of CT 103; None where pebble plays it.
    """

    base: Path
    traefik: Path
    docker: Path | None
    step_ca: Path | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a root file system is made; its hash names the cache entry."""

    suite: str = _SUITE
    packages: tuple[str, ...] = _PACKAGES
    configure: str = _CONFIGURE

    @property
    def key(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of everything above."""
        text = "\0".join([self.suite, *self.packages, self.configure])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def ensure_base(report: Report, recipe: Recipe | None = None, cache: Path | None = None) -> Path:
    """The unpacked root file system, from the cache where it is there, else built (one to two minutes).

    Raises:
        ContainerLabError: debootstrap or tar failed; its last line is in the message.
    """
    recipe = recipe or Recipe()
    cache = cache or CACHE
    with _locked(cache):
        root, archive = cache / f"base-{recipe.key}", cache / f"base-{recipe.key}.tar.zst"
        _touch(root, archive)
        _prune(cache)
        if root.is_dir():
            return root
        if not archive.exists():
            _build(recipe, archive, report)
        report(f"unpacking {archive.name}")
        with _aside(cache) as aside:
            run([*_UNPACK, str(archive), "-C", str(aside)], timeout=300)
            aside.chmod(0o755)
            aside.rename(root)
        return root


def ensure_docker(base: Path, report: Report, cache: Path | None = None) -> Path:
    """A layer above the base with a Docker engine and Compose (half a minute, once).

    Raises:
        ContainerLabError: apt-get failed; its last line is in the message.
    """
    cache = cache or CACHE
    key = hashlib.sha256("\0".join([base.name, *_DOCKER_PACKAGES, _INSTALL]).encode()).hexdigest()[:12]
    layer, archive = cache / f"docker-{key}", cache / f"docker-{key}.tar.zst"
    with _locked(cache):
        _touch(layer, archive)
        if layer.is_dir():
            return layer
        with _aside(cache) as aside:
            upper = aside / "upper"
            if archive.exists():
                upper.mkdir()
                report(f"unpacking {archive.name}")
                run([*_UNPACK, str(archive), "-C", str(upper)], timeout=300)
            else:
                _install(base, aside, archive, report)
            upper.rename(layer)
        return layer


def ensure_program(program: Path, name: str, report: Report, cache: Path | None = None) -> Path:
    """A layer that holds one program of this machine as ``/usr/local/bin/<name>``.

    It is a hard link where the file system allows it: overlayfs never writes to a lower layer. A layer and not a
    bind mount, because a guest must be able to rename another version over it.
    """
    cache = cache or CACHE
    stat = program.stat()
    identity = f"{program.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}"
    layer = cache / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    with _locked(cache):
        _touch(layer)
        if layer.is_dir():
            return layer
        with _aside(cache) as aside:
            target = aside / "usr" / "local" / "bin" / name
            target.parent.mkdir(parents=True)
            for directory in (aside, *(path for path in target.parents if aside in path.parents)):
                directory.chmod(0o755)
            try:
                os.link(program.resolve(), target)
            except OSError:
                report(f"copying {program.name} into the cache")
                shutil.copy2(program, target)
            aside.rename(layer)
        return layer


def ensure_step_ca(report: Report, cache: Path | None = None) -> Path:
    """A layer with step-ca, built from source with Go (once; some minutes).

    Raises:
        ContainerLabError: Go is missing, or the build failed.
    """
    cache = cache or CACHE
    program = cache / f"program-step-ca-{STEP_CA}"
    with _locked(cache):
        _touch(program)
        if not program.exists():
            began = time.monotonic()
            report(f"building step-ca {STEP_CA} with Go (once; some minutes)")
            with _aside(cache) as aside:
                env = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(aside)}
                module = f"github.com/smallstep/certificates/cmd/step-ca@{STEP_CA}"
                run(["go", "install", "-trimpath", "-ldflags=-s -w", module], env=env, timeout=3600)
                (aside / "step-ca").rename(program)
            report(f"built step-ca in {time.monotonic() - began:.0f} s")
    return ensure_program(program, "step-ca", report, cache)


def _install(base: Path, aside: Path, archive: Path, report: Report) -> None:
    began = time.monotonic()
    report("installing Docker into a layer of its own (once; about half a minute)")
    root = aside / "root"
    mounts.overlay([base], aside / "upper", aside / "work", root)
    (root / "etc/resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    run(
        ["chroot", str(root), "/bin/sh", "-s", *_DOCKER_PACKAGES],
        stdin=_INSTALL, timeout=1200, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **proxies},
    )  # fmt: skip
    mounts.unmount_all(root)
    (aside / "upper").chmod(0o755)
    _pack(aside / "upper", archive)
    report(f"built {archive.name} ({archive.stat().st_size / 1e6:.0f} MB) in {time.monotonic() - began:.0f} s")


def _pack(root: Path, archive: Path) -> None:
    aside = archive.with_name(f".unfinished-{archive.name}")
    run([*_PACK, str(aside), "-C", str(root), "."], timeout=600)
    aside.rename(archive)


def _build(recipe: Recipe, archive: Path, report: Report) -> None:
    began = time.monotonic()
    report(f"building the guests' root file system with debootstrap from {MIRROR} (once; one to two minutes)")
    with _aside(archive.parent) as aside:
        root = aside / "root"
        include = f"--include={','.join(recipe.packages)}"
        argv = ["debootstrap", "--variant=minbase", include, recipe.suite, str(root), MIRROR]
        run(argv, timeout=1800, env={**os.environ, "LC_ALL": "C.UTF-8"})
        run(["chroot", str(root), "/bin/sh"], stdin=recipe.configure, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        _pack(root, archive)
    size = archive.stat().st_size / 1e6
    report(f"built {archive.name} ({size:.0f} MB) in {time.monotonic() - began:.0f} s")


def _touch(*entries: Path) -> None:
    """Note that entries of the cache are in use."""
    for entry in entries:
        if entry.exists():
            os.utime(entry)


def _prune(cache: Path) -> None:
    """Remove entries that nothing has used for a fortnight and that no lab has mounted."""
    mounted, now = Path("/proc/self/mounts").read_text(), time.time()
    for entry in cache.iterdir():
        if entry.name.startswith(".") or str(entry) in mounted or now - entry.stat().st_mtime < _KEPT_SECONDS:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One builder at a time; others wait for its result."""
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o700)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _aside(cache: Path) -> Iterator[Path]:
    """A directory for unfinished work; what is left of it in the end, or of a killed build, is removed."""
    for old in cache.glob(".unfinished-*"):
        mounts.unmount_all(old)
        shutil.rmtree(old, ignore_errors=True)
        old.unlink(missing_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=cache))
    try:
        yield aside
    finally:
        if aside.is_dir():
            mounts.unmount_all(aside)
            shutil.rmtree(aside, ignore_errors=True)
