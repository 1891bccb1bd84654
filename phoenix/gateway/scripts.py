"""Shell scripts that put the gateway's site into service, and take it out again. Pure.

Each may be run again at any point. A script that refuses puts back what it changed, prints NGINX's own words on
standard error and exits with :data:`REFUSED`.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from phoenix import names
from phoenix.gateway.settings import GatewaySettings

REFUSED = 73

_WORDS = re.compile(r"(?:nginx: )?\[(?:emerg|alert|crit)\] (?:\d+#\d+: )?(.*)")
_IN_FILE = re.compile(r" in (/\S+?):(\d+)$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the site's parts lie in the gateway's container.

    Attributes:
        path: the site's file.
        link: what enables it.
        enabled: directory of the enabled sites.
        replaces: links in there whose place this site takes.
        nginx: the program.
        service: its systemd unit.
        runtime: directory of the switch.
        switch: the switch itself.
        closing: what asks clients to open a new connection for their next request.
        address: where it listens, from inside.
        http_port, port: for http and https.
    """

    path: str
    link: str
    enabled: str
    replaces: tuple[str, ...]
    nginx: str
    service: str
    runtime: str
    switch: str
    closing: str
    address: str
    http_port: int
    port: int

    @classmethod
    def of(cls, gateway: GatewaySettings) -> Place:
        """From the settings."""
        return cls(
            path=gateway.site_path,
            link=gateway.link_path,
            enabled=gateway.enabled_directory,
            replaces=gateway.replaces,
            nginx=gateway.nginx,
            service=gateway.service,
            runtime=gateway.runtime_directory,
            switch=gateway.switch_path,
            closing=gateway.closing_path,
            address=gateway.listen[0] if gateway.listen else "127.0.0.1",
            http_port=gateway.http_port,
            port=gateway.port,
        )

    @classmethod
    def parse(cls, props: Mapping[str, Any]) -> Place:
        """From a resource's properties, in which numbers are floats."""
        ports = {name: int(props[name]) for name in ("http_port", "port")}
        return cls(**{**props, "replaces": tuple(props["replaces"]), **ports})

    def to_props(self) -> dict[str, Any]:
        """Plain data that :meth:`parse` reads."""
        return {**asdict(self), "replaces": list(self.replaces)}

    def revision_url(self, path: str) -> str:
        """Where the site tells its revision."""
        return f"http://{names.url_host(self.address)}:{self.http_port}{path}"

    @property
    def set_aside(self) -> str:
        """Directory of the sites whose place this one took."""
        return f"{self.enabled}.replaced"


def _variables(place: Place) -> str:
    values = {
        "path": place.path,
        "link": place.link,
        "enabled": place.enabled,
        "aside": place.set_aside,
        "nginx": place.nginx,
        "service": place.service,
        "runtime": place.runtime,
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def check_script(place: Place, staged: str) -> str:
    """Let NGINX read the staged site by itself, before it is anywhere near the running configuration."""
    include = staged.replace("\\", "\\\\").replace('"', '\\"')
    return _variables(place) + "\n".join(
        (
            "set -eu; umask 077",
            "own=$(mktemp -d); trap 'rm -rf \"$own\"' EXIT",
            f"printf '%s\\n' \"pid $own/pid; error_log stderr; events {{}} http {{ access_log off;\" "
            f'{shlex.quote(f"include {chr(34)}{include}{chr(34)}; }}")} >"$own/nginx.conf"',
            f'"$nginx" -t -q -c "$own/nginx.conf" || exit {REFUSED}',
        )
    )


def activate_script(place: Place) -> str:
    """Enable the site, set aside what it replaces, let NGINX check everything, and have it take it over.

    Prints ``linked`` and ``moved <name>`` for what it changed.
    """
    replaces = " ".join(shlex.quote(name) for name in place.replaces)
    return _variables(place) + "\n".join(
        (
            "set -u; linked=; moved=",
            "undo() {",
            '  [ -z "$linked" ] || rm -f -- "$link"',
            '  for name in $moved; do mv -- "$aside/$name" "$enabled/$name"; done',
            "}",
            f"refuse() {{ undo; printf '%s\\n' \"$1\" >&2; exit {REFUSED}; }}",
            'mkdir -p -- "$enabled" "$runtime" && chmod 0755 "$runtime" || exit 1',
            'if ! [ "$link" -ef "$path" ]; then',
            '  if [ -e "$link" ] && ! [ -h "$link" ]; then refuse "$link is there already and is no link of ours"; fi',
            '  ln -sfn -- "$path" "$link" || exit 1; linked=1',
            "fi",
            f"for name in {replaces}; do" if replaces else "for name in; do",
            '  if [ -e "$enabled/$name" ] || [ -h "$enabled/$name" ]; then',
            '    mkdir -p -- "$aside" && mv -f -- "$enabled/$name" "$aside/$name" || exit 1; moved="$moved $name"',
            "  fi",
            "done",
            'said=$("$nginx" -t 2>&1) || refuse "$said"',
            _reload('refuse "$said"'),
            '[ -z "$linked" ] || echo linked',
            'for name in $moved; do echo "moved $name"; done',
        )
    )


def _reload(otherwise: str) -> str:
    return "\n".join(
        (
            'if systemctl is-active --quiet "$service"; then',
            f'  said=$(systemctl reload "$service" 2>&1) || {otherwise}',
            "else",
            '  systemctl reset-failed "$service" 2>/dev/null',
            f'  said=$(systemctl start "$service" 2>&1) || {otherwise}',
            "fi",
            'systemctl is-enabled --quiet "$service" || systemctl enable --quiet "$service" || :',
        )
    )


def undo_script(place: Place, done: Iterable[str]) -> str:
    """Put back what :func:`activate_script` said it changed, without asking NGINX."""
    lines = ["set -u"]
    for line in done:
        word, _, name = line.partition(" ")
        if word == "linked":
            lines.append('rm -f -- "$link"')
        elif word == "moved" and name in place.replaces:
            quoted = shlex.quote(name)
            lines.append(f'mv -f -- "$aside"/{quoted} "$enabled"/{quoted}')
    return _variables(place) + "\n".join(lines)


def reload_script(place: Place) -> str:
    """Let NGINX check and take over what lies there now."""
    said = f"{{ printf '%s\\n' \"$said\" >&2; exit {REFUSED}; }}"
    return _variables(place) + "\n".join(("set -u", f'said=$("$nginx" -t 2>&1) || {said}', _reload(said)))


def deactivate_script(place: Place) -> str:
    """Take the site out of service, and put back what it replaced."""
    return _variables(place) + "\n".join(
        (
            "set -u",
            'if [ -h "$link" ]; then rm -f -- "$link"; fi',
            'for kept in "$aside"/*; do',
            '  if [ -e "$kept" ] || [ -h "$kept" ]; then mv -f -- "$kept" "$enabled/" || exit 1; fi',
            "done",
            'rmdir -- "$aside" 2>/dev/null || :',
            f"rm -f -- {shlex.quote(place.switch)} {shlex.quote(place.closing)}",
        )
    )


def inspect_script(place: Place) -> str:
    """Prints ``key=value`` lines on what of the site is in service; always exits 0."""
    lines = [
        'if [ "$link" -ef "$path" ]; then echo link=yes; else echo link=no; fi',
        'printf "active=%s\\n" "$(systemctl is-active "$service" 2>/dev/null)"',
        'printf "enabled=%s\\n" "$(systemctl is-enabled "$service" 2>/dev/null)"',
    ]
    for name in place.replaces:
        quoted = shlex.quote(name)
        lines.append(f'if [ -e "$enabled"/{quoted} ] || [ -h "$enabled"/{quoted} ]; then echo back={quoted}; fi')
    return _variables(place) + "\n".join([*lines, "true"])


def problems(place: Place, output: str) -> Iterator[str]:
    """A phrase for each way in which the site is not in service, from :func:`inspect_script`'s output."""
    pairs = [line.split("=", 1) for line in output.splitlines() if "=" in line]
    state = dict(pairs)
    if state.get("link") != "yes":
        yield f"{place.link} does not lead to {place.path}: the site is not enabled"
    for key, name in pairs:
        if key == "back":
            yield f"{place.enabled}/{name} is enabled again, whose place this site takes"
    active = state.get("active")
    if active != "active":
        yield f"{place.service} is {active or 'unknown'}, not active"
    if state.get("enabled") not in ("enabled", "enabled-runtime", "static", "alias"):
        yield f"{place.service} is {state.get('enabled') or 'unknown'}, not enabled: it would not start at boot"


def answers_script(place: Place, hostname: str | None) -> str:
    """Exits 0 where the https port answers: with any HTTP answer, or just a connection where there is no curl."""
    address = names.url_host(place.address)
    if hostname is None:
        return _connects(place)
    target = shlex.quote(f"::{address}:{place.port}")
    url = shlex.quote(f"https://{hostname}:{place.port}/")
    request = f"curl -q -s -S -k -o /dev/null --max-time 10 --noproxy '*' --connect-to {target} {url}"
    return f"if command -v curl >/dev/null; then\n  {request}\nelse\n{_connects(place)}\nfi"


def _connects(place: Place) -> str:
    command = shlex.quote(f"exec 9<>/dev/tcp/{place.address}/{place.port}")
    return f"if command -v bash >/dev/null; then bash -c {command}; fi"


def errors_script(lines: int = 30) -> str:
    """Prints the end of NGINX's log."""
    return f"tail -n {lines:d} /var/log/nginx/error.log 2>/dev/null || true"


def words(output: str, real: Mapping[str, str] | None = None, limit: int = 2) -> str:
    """NGINX's own words, the last of them, without prefix and time.

    Args:
        output: what ``nginx -t``, or its log, says.
        real: path → the path that shall stand in its place, for staged files.
        limit: most sentences.
    """
    found: list[str] = []
    for line in output.splitlines():
        match = _WORDS.search(line)
        if match:
            text = _IN_FILE.sub(r" (\1, line \2)", match[1].strip())
            for path, other in (real or {}).items():
                text = text.replace(path, other)
            if text not in found:
                found.append(text)
    return "; ".join(found[-limit:])


def switch_script(place: Place, *, to_standby: bool) -> str:
    """Send requests to the standby from now on, or to Traefik again. NGINX looks at each request."""
    switch = shlex.quote(place.switch)
    if not to_standby:
        return f"rm -f -- {switch}"
    return _variables(place) + f'mkdir -p -- "$runtime" && chmod 0755 "$runtime" && : >{switch} && chmod 0644 {switch}'


def closing_script(place: Place) -> str:
    """Ask clients of HTTP/1.1 to open a new connection for their next request, until :func:`kept_script`.

    Prints ``asked`` where the site is enabled, so that it makes sense to wait for them.
    """
    touch = f'mkdir -p -- "$runtime" && chmod 0755 "$runtime" && : >{shlex.quote(place.closing)}'
    return _variables(place) + f'if [ "$link" -ef "$path" ]; then {touch} && echo asked; fi'


def kept_script(place: Place) -> str:
    """Let clients keep their connections again."""
    return f"rm -f -- {shlex.quote(place.closing)}"


def switched_script(place: Place) -> str:
    """Prints ``yes`` while requests go to the standby, else ``no``."""
    return f"if [ -f {shlex.quote(place.switch)} ]; then echo yes; else echo no; fi"


def connections_script(address: str, port: int) -> str:
    """Prints how many connections from here to an address are open or being opened (proc_pid_net(5))."""
    return f"cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -c -E ' {_peer(address, port)} 0[12] ' || :"


def _peer(address: str, port: int) -> str:
    """An address as the kernel's tables write it: each 32-bit word in the machine's byte order, little endian here."""
    packed = ipaddress.ip_address(address).packed
    words = (packed[index : index + 4] for index in range(0, len(packed), 4))
    return f"{''.join(word[::-1].hex().upper() for word in words)}:{port:04X}"
