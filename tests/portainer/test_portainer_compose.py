"""Compose files: what is refused before it is sent, and how a stack's files get in.

The verdicts marked as Compose's were taken from its own parser, compose-go 2.1.3, which Docker Compose 2.29 uses.
"""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.portainer import compose
from phoenix.portainer.compose import ComposeError, StackFile
from phoenix.portainer.compose_checks import examine
from phoenix.portainer.interpolation import Findings, escape, substitute

BASE = "services:\n  web:\n    image: nginx\n"
VALUES = {"A": "x", "EMPTY": ""}


def mistakes(text: str) -> list[str]:
    try:
        return examine(compose.load(text), VALUES).mistakes
    except ComposeError as error:
        return [str(error)]


def web(line: str) -> str:
    return f"{BASE}    {line}\n"


#: Compose takes these, and so do we.
ACCEPTED = [
    BASE,
    web("ports: ['22:22', 8080:80, 80, '8080-8082:80-82', '127.0.0.1::80', '127.0.0.1:80:80/udp', '[::1]:80:80']"),
    web("ports: [{target: 80, published: '8080', protocol: tcp, mode: host}, '0:80', '8080-8081:80', ':80']"),
    web("environment: {A: yes, B: 010, C: 08, D: 12:30, E: 2024-01-01, F: ~, G: 1.5, H: '${A}', I: '$$x 100$ $1'}"),
    web("environment: [A, B=c, '=x']"),
    web("environment: {A: '${MISSING:-${B:-x}}', B: '${A:?no}', C: '${A+y}', D: '${MISSING-}'}"),
    web("labels: {a: '{{ .x }}'}"),
    web("command: ['sh', '-c', 'echo $$HOME']"),
    web("command:"),
    web("deploy:"),
    web("deploy: {replicas: '2', resources: {limits: {cpus: '0.5', memory: 50M}}}"),
    web("networks: [default]"),
    web("networks: [front]\nnetworks:\n  front:"),
    web("networks: {a: {ipv4_address: 1.2.3.4}}\nnetworks: {a: }"),
    web("volumes: ['data:/d']\nvolumes: {data: {}}"),
    web("volumes: ['/abs:/e:ro', '/only', data]\nvolumes: {data: }"),
    web("volumes: [{type: bind, source: /data, target: /d}, {type: tmpfs, target: /t}, {type: volume, target: /v}]"),
    web("secrets: [a]\nsecrets: {a: {environment: A}}"),
    web("configs: [{source: a, target: /x}]\nconfigs: {a: {content: 'a $$b'}}"),
    web("configs: [a]\nconfigs: {a: {external: true}}"),
    web("env_file: [{path: x.env, required: false}]"),
    web("restart: on-failure:3"),
    web('restart: "no"'),
    web("privileged: ${MISSING:-true}"),
    web("init: 'yes'"),
    web("cpus: '0.5'"),
    web("mem_limit: 512mb"),
    web("mem_limit: 512"),
    web("shm_size: 1.5g"),
    web("stop_grace_period: 1h30m"),
    web("healthcheck: {test: [NONE], interval: 500ms, retries: '3'}"),
    web("healthcheck: {disable: true}"),
    web("extra_hosts: ['a:127.0.0.1', 'b=::1']"),
    web("extra_hosts: {a: 127.0.0.1}"),
    web("volumes_from: ['container:x']"),
    web("network_mode: host\n    ports: ['80:80']"),
    web("ulimits: {nofile: {soft: 1, hard: 2}, nproc: 5}"),
    web("logging: {driver: json-file, options: {max-size: 10}}"),
    web("extends: {service: a}\n  a: {image: y}"),
    web("x-any: {a: $1}\nx-other: 1\nversion: '3.8'\nname: other"),
    web("ports: !override ['80:80']"),
    web("dns: 1.1.1.1\n    tmpfs: /run\n    sysctls: {a: 1}\n    user: '1000:1000'\n    expose: [80, '81']"),
    "x-c: &c {image: nginx}\nservices:\n  web:\n    <<: *c\n  b:\n    <<: [*c]\n    image: x\n",
    "services:\n  web: {image: 'localhost:5000/x/y:1'}\n  WEB.1: {image: 'x:1@sha256:" + "a" * 64 + "'}\n",
]

#: Compose refuses these, and so do we; each with the words that say why.
REFUSED = [
    ("services:\n", "has no services"),
    ("{}\n", "has no services"),
    ("[]\n", "is not a mapping"),
    ("x\n", "is not a mapping"),
    ("services: []\n", "has no services"),
    ("services:\n\tweb: x\n", "is not valid YAML .line 2"),
    ("---\nservices: {}\n---\na: b\n", "is not valid YAML"),
    ("services:\n  web:\n", "'web', which is not a mapping"),
    ("services:\n  web: {}\n", "'web' without an image"),
    ("services:\n  web: {image: ''}\n", "'web' without an image"),
    ("services:\n  web: {image: 5}\n", "'image' is not text"),
    ("services:\n  web: {image: '${NONE}'}\n", "'web' without an image"),
    ("services:\n  web: {image: UPPER}\n", "no image reference"),
    ("services:\n  'we b': {image: x}\n", "whose name may hold only"),
    ("services:\n  1: {image: x}\n", "a key that is no text in line 2"),
    ("services:\n  true: {image: x}\n", "a key that is no text in line 2"),
    (web("labels: {1: 2}"), "a key that is no text in line 4"),
    (web("image: twice"), "the key 'image' twice .again in line 4"),
    (web("environment: {A: '${MISSING:?no}'}"), "demands the variable MISSING"),
    (web("environment: {A: '${EMPTY:?no}'}"), "demands the variable EMPTY"),
    (web("environment: {A: '${A'}"), r"holds '\$\{A', which Compose refuses"),
    (web("environment: {A: '${1A}'}"), "which Compose refuses"),
    (web("environment: {A: '${}'}"), "which Compose refuses"),
    (web("environment: {A: '${A b}'}"), "which Compose refuses"),
    (web("environment: {A: '${A:=x}'}"), "which Compose refuses"),
    (web("environment: {A: [1]}"), "'environment' is not a mapping of single values"),
    (web("environment: x"), "'environment' is not"),
    (web("environment:"), "'environment' is not"),
    (web("ports:"), "'ports' is not a list"),
    (web("ports: {a: b}"), "'ports' is not a list"),
    (web("ports: [abc]"), "the port 'abc'"),
    (web("ports: ['99999:80']"), "the port '99999:80'"),
    (web("ports: ['80:80:80:80']"), "the port '80:80:80:80'"),
    (web("ports: ['80:80/xyz']"), "the port '80:80/xyz'"),
    (web("ports: ['80:0']"), "the port '80:0'"),
    (web("ports: ['80:']"), "the port '80:'"),
    (web("ports: ['80:80-81']"), "the port '80:80-81'"),
    (web("ports: [80.5]"), "the port 80.5"),
    (web("ports: [{published: 80}]"), "no 'target'"),
    (web("ports: [{target: 80, wrong: 1}]"), "the unknown key 'wrong' in a port"),
    (web("networks: [front]"), "the network 'front', which is not under 'networks:'"),
    (web("networks: [front]\nnetworks: [front]"), "'networks' that is not a mapping"),
    (web("network_mode: host\n    networks: [default]"), "both 'network_mode' and 'networks'"),
    (web("network_mode: 'service:db'"), "depends on 'db', which is no service"),
    (web("volumes: ['data:/d']"), "the volume 'data', which is not under 'volumes:'"),
    (web("volumes: [{type: volume, source: data, target: /d}]"), "the volume 'data'"),
    (web("volumes: [{source: a, target: /b}]"), "a volume that has no 'type'"),
    (web("volumes: [5]"), "the volume 5"),
    (web("volumes: ['']"), "the volume ''"),
    (web("depends_on: [db]"), "depends on 'db'"),
    (web("depends_on: {db: {condition: service_started, required: false}}"), "depends on 'db'"),
    (web("depends_on: [web]"), "depend on each other .web"),
    (web("depends_on: [b]\n  b: {image: y, depends_on: [web]}"), "depend on each other .b, web"),
    (web("links: [db]"), "depends on 'db'"),
    (web("volumes_from: [db]"), "depends on 'db'"),
    (web("secrets: [a]"), "the secret 'a', which is not under 'secrets:'"),
    (web("configs: [a]"), "the config 'a', which is not under 'configs:'"),
    (web("configs: [a]\nconfigs: {a: {}}"), "gives configs.a nothing"),
    (web("x-a: 1\nconfigs: {a: {content: x, environment: y}}"), "gives configs.a environment and content"),
    (web("secrets: [a]\nsecrets: {a: {content: x}}"), "the unknown key 'content' in secrets.a"),
    (web("x-a: 1\nvolumes: {a: {external: true, driver: x}}"), "which is external and has 'driver' too"),
    (web("x-a: 1\nnetworks: {a: {wrong: 1}}"), "the unknown key 'wrong' in networks.a"),
    (web("enviroment: {A: b}"), "the unknown key 'enviroment': write 'environment'"),
    (BASE + "unknown: 1\n", "unknown top-level key 'unknown'"),
    (BASE + "version: 3.8\n", "the version 3.8 that is not in quotes"),
    (BASE + "name: Bad Name\n", "the name 'Bad Name'"),
    (BASE + "name: ''\n", "the name ''"),
    (web("extends: {service: zz}"), "extends 'zz', which is no service"),
    (web("user: 1000"), "'user' is not text .put it in quotes"),
    (web("hostname:"), "'hostname' is not text"),
    (web("cap_add: NET"), "'cap_add' is not a list"),
    (web("privileged: abc"), "'privileged' is not true or false"),
    (web("cpus: abc"), "'cpus' is not a number"),
    (web("scale: two"), "'scale' is not a number"),
    (web("mem_limit: lots"), "'mem_limit' is not a size"),
    (web("mem_limit: 5x"), "'mem_limit' is not a size"),
    (web("stop_grace_period: 10"), "'stop_grace_period' is not a duration"),
    (web("pull_policy: sometimes"), "the pull policy 'sometimes'"),
    (web("healthcheck: []"), "'healthcheck' is not a mapping"),
    (web("healthcheck: {test: [x]}"), "does not begin with CMD"),
    (web("healthcheck: {interval: 5}"), "healthcheck.interval is not a duration"),
    (web("healthcheck: {retries: x}"), "healthcheck.retries is not a number"),
    (web("healthcheck: {wrong: 1}"), "the unknown key 'wrong' in 'healthcheck'"),
    (web("deploy: {replicas: two}"), "deploy.replicas is 'two'"),
    (web("deploy: {wrong: 1}"), "the unknown key 'wrong' in 'deploy'"),
    (web("deploy: {replicas: 2}\n    container_name: a"), "cannot all have it"),
    (web("scale: 2\n    deploy: {replicas: 3}"), "different numbers"),
    (web("extra_hosts: [a]"), "the extra host 'a'"),
    (web("ulimits: {nofile: {soft: 1}}"), "ulimits.nofile"),
    ("include: [o.yml]\n" + BASE, "uses 'include'"),
    (web("env_file: x.env"), "env_file 'x.env', which Portainer does not get"),
    (web("extends: {file: o.yml, service: a}"), "extends another file"),
    (web("configs: [a]\nconfigs: {a: {file: ./x}}"), "from a file, which Portainer does not get"),
]

#: Compose's parser takes these; Docker or Portainer would fail on them later, when containers are already gone.
OURS = [
    (web("build: ."), "is built, but Portainer gets no build context"),
    ("services:\n  web: {image: 'r/x:${NONE}'}\n", "the image 'r/x:', which is no image reference"),
    ("services:\n  web: {image: 'a b'}\n", "no image reference"),
    (web("restart: sometimes"), "the restart policy 'sometimes'"),
    (web("restart: yes"), "the restart policy 'yes'"),
    (web("container_name: a\n  b: {image: x, container_name: a}"), "the same container_name 'a'"),
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_compose_takes_is_taken(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize(("text", "why"), REFUSED + OURS)
def test_what_would_fail_is_refused_with_its_reason(text: str, why: str) -> None:
    assert re.search(why, "\n".join(mistakes(text)))


def test_every_mistake_of_a_file_is_named_at_once() -> None:
    found = mistakes(web("ports: [x]\n    networks: [front]\n    user: 5\n  db: {}\nwrong: 1"))
    assert len(found) == 5


def test_an_unset_variable_is_a_warning() -> None:
    outcome = examine(compose.load(web("environment: {A: '$NONE ${OTHER} ${A}'}")), VALUES)
    assert outcome.mistakes == []
    assert [text.split(",")[0] for text in outcome.warnings] == ["uses the variable NONE", "uses the variable OTHER"]


def test_a_relative_mount_is_a_warning() -> None:
    outcome = examine(compose.load(web("volumes: ['./data:/data']")), VALUES)
    assert outcome.mistakes == []
    assert "absolute path or a named volume" in outcome.warnings[0]


def test_which_containers_a_service_should_have() -> None:
    text = (
        "services:\n  up: {image: x, restart: always}\n  once: {image: x}\n  debug: {image: x, profiles: [debug]}\n"
        "  none: {image: x, deploy: {replicas: 0}}\n"
    )
    services = examine(compose.load(text), VALUES).services
    assert {name: (item.wanted, item.stays_up) for name, item in services.items()} == {
        "up": (True, True),
        "once": (True, False),
        "debug": (False, False),
        "none": (False, False),
    }


# -- hostile YAML ----------------------------------------------------------------------------------------------


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ComposeError, match="with its aliases written out"):
        compose.load("\n".join(lines))


def test_an_alias_to_itself_and_endless_nesting_are_refused() -> None:
    with pytest.raises(ComposeError, match="an alias to a value around itself"):
        compose.load("services: &a\n  web: {image: x, x-y: *a}\n")
    for text in ("[" * 5000, "services: " + "{a: " * 5000):
        with pytest.raises(ComposeError):
            compose.load(text)
    with pytest.raises(ComposeError, match="more than 100 levels"):
        compose.load("services: " + "{a: " * 150 + "}" * 150)


def test_tags_that_would_run_something_are_refused() -> None:
    with pytest.raises(ComposeError, match="cannot be read"):
        compose.load("services: !!python/object/apply:os.system ['true']\n")


def test_files_that_are_no_text_are_refused() -> None:
    for data, why in ((b"\xff\xfe", "not UTF-8"), (b"a\x00b", r"U\+0000"), (b"x" * 11, "11 bytes, 10 are allowed")):
        with pytest.raises(ComposeError, match=why):
            compose.decode(data, 10)
    assert compose.decode(b"\xef\xbb\xbfa\tb\r\n") == "a\tb\r\n"


# -- variables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$A ${A} $$A $${A}", "x x $A ${A}"),
        ("${EMPTY:-d} ${EMPTY-d} ${NONE:-d} ${NONE-d}", "d  d d"),
        ("${A:+y} ${EMPTY:+y} ${EMPTY+y} ${NONE+y}", "y  y "),
        ("${NONE:-${A}}", "x"),
        ("${NONE:-a$${{+}", "a${{+"),
        ("$1 $ 100$ $-x $A.b", "$1 $ 100$ $-x x.b"),
    ],
)
def test_variables_are_substituted_as_compose_does(text: str, result: str) -> None:
    findings = Findings()
    assert substitute(text, VALUES, findings) == result
    assert findings == Findings()


@given(st.text())
def test_an_escaped_text_comes_out_as_it_was(text: str) -> None:
    findings = Findings()
    assert substitute(escape(text), {}, findings) == text
    assert findings == Findings()


@given(st.text(alphabet="${}AB:-?+ x", max_size=40))
def test_no_text_makes_the_substitution_fail(text: str) -> None:
    substitute(text, {"A": "1"}, Findings())


# -- files -----------------------------------------------------------------------------------------------------

AWKWARD = """\
x-base: &base
  image: nginx:1.10
  restart: always
services:
  web:
    <<: *base
    x-phoenix-files: true
    ports: ['22:22', 8080:80]
    environment: {A: yes, B: 010, C: 12:30, D: "1.0", E: 1.0, F: ~}
    configs: [other]
  db: *base
configs:
  other: {content: hi}
"""


def contents(text: str) -> dict[str, str]:
    data = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - BaseLoader builds texts only
    return {name: entry["content"] for name, entry in data["configs"].items()}


def test_a_stack_without_files_keeps_its_text() -> None:
    assert compose.with_files(AWKWARD, []) == AWKWARD


def test_files_become_inline_configs_of_the_marked_service() -> None:
    text = compose.with_files(AWKWARD, [StackFile("/app/.env", "KEY=$VALUE\n"), StackFile("/etc/x", "y")])
    assert mistakes(text) == []
    data = compose.load(text)
    services = data["services"]
    assert isinstance(services, dict)
    targets = [item["target"] for item in services["web"]["configs"] if isinstance(item, dict)]
    assert targets == ["/app/.env", "/etc/x"]
    assert "other" in services["web"]["configs"]
    assert "configs" not in services["db"]
    assert sorted(contents(text).values()) == ["KEY=$$VALUE\n", "hi", "y"]
    before, after = (yaml.load(item, Loader=yaml.BaseLoader) for item in (AWKWARD, text))  # noqa: S506
    del before["services"]["web"]["configs"], after["services"]["web"]["configs"]
    assert before["services"] == after["services"]


def test_another_content_gives_another_config_so_that_the_container_is_made_anew() -> None:
    one, two = (compose.with_files(BASE, [StackFile("/a", content)]) for content in ("1", "2"))
    assert set(contents(one)) != set(contents(two))
    assert one == compose.with_files(BASE, [StackFile("/a", "1")])


def test_where_a_file_goes_has_to_be_clear() -> None:
    two = BASE + "  db: {image: x}\n"
    with pytest.raises(ComposeError, match=r"2 services \(db, web\).*x-phoenix-files: true"):
        compose.with_files(two, [StackFile("/a", "b")])
    with pytest.raises(ComposeError, match="no service 'cache'"):
        compose.with_files(two, [StackFile("/a", "b", "cache")])
    named = compose.load(compose.with_files(two, [StackFile("/a", "b", "db")]))["services"]
    assert isinstance(named, dict)
    assert "configs" in named["db"]
    assert "configs" not in named["web"]


def test_a_service_that_shares_its_definition_does_not_share_the_file() -> None:
    text = "services:\n  web: &w {image: x, x-phoenix-files: true}\nx-copy: *w\n"
    data = compose.load(compose.with_files(text, [StackFile("/a", "b")]))
    assert data["x-copy"] == {"image": "x", "x-phoenix-files": True}


def test_a_service_keeps_the_configs_it_merges_in() -> None:
    text = "x-c: &c {image: x, configs: [other]}\nservices:\n  web:\n    <<: *c\nconfigs: {other: {content: hi}}\n"
    services = compose.load(compose.with_files(text, [StackFile("/a", "b")]))["services"]
    assert isinstance(services, dict)
    assert services["web"]["configs"][0] == "other"
    assert services["web"]["configs"][1]["target"] == "/a"


@settings(max_examples=150)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"), max_size=200))
def test_any_text_arrives_in_the_config_as_it_is(content: str) -> None:
    text = compose.with_files(AWKWARD, [StackFile("/a", content)])
    (found,) = [value for name, value in contents(text).items() if name != "other"]
    findings = Findings()
    assert substitute(found, {}, findings) == content
    assert findings == Findings()
