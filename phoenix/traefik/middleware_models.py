"""The kinds of middleware a stack may define, typed. Pure.

``phoenix:middlewares`` maps a name to one definition, ``phoenix:routes.<router>.middlewares`` lists names in order::

    middlewares:
      secure: {securityHeaders: {}}
      office: {ipAllowList: {sourceRange: [10.0.0.0/24]}}
    routes:
      grafana-router: {middlewares: [office, secure]}

Keys below a kind are Traefik's own (https://doc.traefik.io/traefik/middlewares/http/overview/), except for
``securityHeaders``, which is ``headers`` with defaults that suit a web application behind https.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from phoenix import names
from phoenix.settings_types import AbsolutePath, Duration, Network, RouterName, SettingsModel, like

WITHHELD = "withheld:{SHA}" + "A" * 27 + "="
"""Stands for a user line that cannot be decrypted here; nobody can log in with it."""

_HTPASSWD = re.compile(
    r"[^:\s{}]{1,255}:(\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}|\$apr1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}"
    r"|\{SHA\}[A-Za-z0-9+/]{27}=)"
)
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_user_line(line: str) -> bool:
    """Whether a line is a name and the hash of a password, as ``htpasswd`` prints them."""
    return _HTPASSWD.fullmatch(line) is not None


def _user(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not is_user_line(value.get_secret_value()):
        raise ValueError("must be a line that `htpasswd -nB <name>` prints: name, colon, hash of the password")
    return value


def _text(value: str) -> str:
    return names.no_template(value)


def _header_name(value: str) -> str:
    if not HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of an HTTP header, such as X-Robots-Tag")
    return value


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError('must begin with a slash, such as "/api"')
    return names.no_template(value)


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must hold at least one entry")
    return value


def _regex(value: str) -> str:
    # Traefik compiles it with Go's RE2; what is unbalanced there is so here as well, the rest the candidate proves.
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    return names.no_template(value)


Text = Annotated[str, AfterValidator(_text)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
UrlPathPrefix = Annotated[str, AfterValidator(_path)]
Regex = Annotated[str, AfterValidator(_regex)]
UserLine = Annotated[SecretStr | None, AfterValidator(_user)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Headers = dict[HeaderName, Text]


class IpStrategy(SettingsModel):
    """Which address counts as the client's (https://doc.traefik.io/traefik/middlewares/http/ipallowlist/#ipstrategy).

    Attributes:
        depth: position in ``X-Forwarded-For`` from the right; a request without so many has no address.
        excluded_ips: proxies to pass over from the right, in place of ``depth``.
    """

    depth: Annotated[int, Field(ge=0, le=100)] | None = None
    excluded_ips: tuple[Network, ...] = Field(default=(), alias="excludedIPs")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.depth and self.excluded_ips:
            raise ValueError("must have depth or excludedIPs, not both: Traefik would ignore excludedIPs")
        return self


class SecurityHeaders(SettingsModel):
    """Response headers that narrow what a browser allows a page, with defaults for a site of one host name.

    Attributes:
        sts_seconds: how long browsers insist on https for this host name; 0 leaves the header out.
        sts_include_subdomains: for its sub-domains too.
        sts_preload: ask to be on the browsers' own lists.
        content_type_nosniff: take Content-Type at its word.
        custom_frame_options_value: who may frame the page: SAMEORIGIN or DENY; empty leaves the header out.
        referrer_policy: what other sites learn of the page's address; empty leaves the header out.
        permissions_policy: browser features the page may use, such as ``camera=(), microphone=()``.
        content_security_policy: what the page may load; none by default, since it depends on the application.
        custom_response_headers: further headers; an empty value removes the backend's.
    """

    sts_seconds: Annotated[int, Field(ge=0, le=10 * 366 * 86400)] = 31_536_000
    sts_include_subdomains: bool = False
    sts_preload: bool = False
    content_type_nosniff: bool = True
    custom_frame_options_value: Annotated[str, like(r"(SAMEORIGIN|DENY|)", "SAMEORIGIN, DENY or empty")] = "SAMEORIGIN"
    referrer_policy: Text = "strict-origin-when-cross-origin"
    permissions_policy: Text | None = None
    content_security_policy: Text | None = None
    custom_response_headers: Headers = Field(default_factory=dict)


class CustomHeaders(SettingsModel):
    """Headers set on requests to the backend or on its responses; an empty value removes one.

    Attributes:
        custom_request_headers: towards the backend.
        custom_response_headers: towards the client.
    """

    custom_request_headers: Headers = Field(default_factory=dict)
    custom_response_headers: Headers = Field(default_factory=dict)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.custom_request_headers and not self.custom_response_headers:
            raise ValueError("must have customRequestHeaders or customResponseHeaders")
        return self


class RateLimit(SettingsModel):
    """At most ``average`` requests per ``period`` and client address; more are answered 429.

    Attributes:
        average: requests.
        period: over which ``average`` counts.
        burst: requests that may come at once; by default ``average``, since Traefik's own 1 fails ordinary pages.
        ip_strategy: whose requests count together; behind the gateway by default the address it forwards.
    """

    average: Count
    period: Duration = "1s"
    burst: Count | None = None
    ip_strategy: IpStrategy | None = None

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if not re.search("[1-9]", self.period):
            raise ValueError("must have a period longer than nothing, such as 1s")
        return self


class InFlightRequests(SettingsModel):
    """At most ``amount`` requests at a time from one client address; more are answered 429.

    Attributes:
        amount: requests.
        ip_strategy: whose requests count together, as for ``rateLimit``.
    """

    amount: Count
    ip_strategy: IpStrategy | None = None


class IpAllowList(SettingsModel):
    """Only these clients; others are answered 403.

    Attributes:
        source_range: addresses and networks.
        ip_strategy: which address counts; behind the gateway by default the one it forwards (depth 1).
        reject_status_code: what the others are answered.
    """

    source_range: Annotated[tuple[Network, ...], AfterValidator(_some)]
    ip_strategy: IpStrategy | None = None
    reject_status_code: Annotated[int, Field(ge=400, le=599)] | None = None

    @property
    def excludes_somebody(self) -> bool:
        """Whether any address is kept out."""
        return all(ipaddress.ip_network(entry).prefixlen > 0 for entry in self.source_range)


class BasicAuth(SettingsModel):
    """A login by name and password.

    Attributes:
        users: lines that ``htpasswd -nB <name>`` prints; keep each as a secret.
        users_file: a file of such lines in Traefik's container, instead or besides.
        realm: what the browser shows.
        remove_header: do not pass name and password on to the backend.
    """

    users: tuple[UserLine, ...] = ()
    users_file: AbsolutePath | None = None
    realm: Text | None = None
    remove_header: bool = True

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.users and not self.users_file:
            raise ValueError("must have users or usersFile: without either nobody could log in")
        people = [line.get_secret_value().partition(":")[0] for line in self.users if line is not None]
        twice = sorted({name for name in people if people.count(name) > 1})
        if twice:
            raise ValueError(f"must name each user once ({', '.join(twice)} stands there twice)")
        return self

    def lines(self) -> list[str]:
        """The user lines in clear."""
        return [WITHHELD if line is None else line.get_secret_value() for line in self.users]


class Compress(SettingsModel):
    """Compresses responses (gzip, brotli or zstd, as the client likes).

    Attributes:
        excluded_content_types: what is left as it is.
        minimum: smallest response in bytes that is compressed (``minResponseBodyBytes``).
    """

    excluded_content_types: tuple[Text, ...] = ()
    minimum: Annotated[int, Field(ge=0)] | None = Field(default=None, alias="minResponseBodyBytes")


class RedirectRegex(SettingsModel):
    """Redirects URLs that match.

    Attributes:
        regex: Go syntax, matched with the whole URL.
        replacement: the new URL; ``$1`` or ``${1}`` is the first group.
        permanent: 301 or 308 in place of 302 or 307.
    """

    regex: Regex
    replacement: Text
    permanent: bool = False


class StripPrefix(SettingsModel):
    """Takes a prefix off the path before the backend sees it.

    Attributes:
        prefixes: the first that matches is taken off.
    """

    prefixes: Annotated[tuple[UrlPathPrefix, ...], AfterValidator(_some)]


class AddPrefix(SettingsModel):
    """Puts a prefix before the path.

    Attributes:
        prefix: the prefix.
    """

    prefix: UrlPathPrefix


class ReplacePathRegex(SettingsModel):
    """Rewrites the path.

    Attributes:
        regex: Go syntax, matched with the path.
        replacement: the new path.
    """

    regex: Regex
    replacement: Text


class Buffering(SettingsModel):
    """Bounds the size of requests and responses.

    Attributes:
        max_request_body_bytes: larger requests are answered 413.
        max_response_body_bytes: larger responses are answered 500.
        mem_request_body_bytes: above this a request waits on disk.
    """

    max_request_body_bytes: Count | None = None
    max_response_body_bytes: Count | None = None
    mem_request_body_bytes: Count | None = None


class Retry(SettingsModel):
    """Asks again where the backend refuses the connection.

    Attributes:
        attempts: how often in all.
        initial_interval: pause before the second; it doubles.
    """

    attempts: Annotated[int, Field(ge=1, le=20)]
    initial_interval: Duration | None = None


class Chain(SettingsModel):
    """Several middlewares under one name.

    Attributes:
        middlewares: names from ``phoenix:middlewares``, in order.
    """

    middlewares: Annotated[tuple[RouterName, ...], AfterValidator(_some)]


class Middleware(SettingsModel):
    """One middleware: exactly one of these kinds."""

    security_headers: SecurityHeaders | None = None
    headers: CustomHeaders | None = None
    rate_limit: RateLimit | None = None
    in_flight_req: InFlightRequests | None = None
    ip_allow_list: IpAllowList | None = None
    basic_auth: BasicAuth | None = None
    compress: Compress | None = None
    redirect_regex: RedirectRegex | None = None
    strip_prefix: StripPrefix | None = None
    add_prefix: AddPrefix | None = None
    replace_path_regex: ReplacePathRegex | None = None
    buffering: Buffering | None = None
    retry: Retry | None = None
    chain: Chain | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"must have exactly one of {', '.join(sorted(KINDS))}")
        return self

    @property
    def kind(self) -> str:
        """The key it has in Traefik's configuration, or ``securityHeaders``."""
        return KINDS_BY_FIELD[next(iter(self.model_fields_set))]


KINDS_BY_FIELD = {name: field.alias or name for name, field in Middleware.model_fields.items()}
KINDS = tuple(KINDS_BY_FIELD.values())
