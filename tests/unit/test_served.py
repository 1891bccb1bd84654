"""What requests through the live entry points tell: a failure of Traefik's, a warning of a backend's, or nothing."""

from __future__ import annotations

import pytest

from phoenix.traefik.asking import Question, Reply
from phoenix.traefik.served import judge

HTTP = {
    "routers": {"app-router": {"service": "app-service"}},
    "services": {"app-service": {"loadBalancer": {"servers": [{"url": "http://192.0.2.7:80"}]}}},
}
QUESTION = Question("app-router", "app.internal.example.test", "127.0.0.1", 443)

JUDGED: dict[str, tuple[Reply, bool, str]] = {
    "an answer": (Reply(QUESTION, 200), False, ""),
    "a login": (Reply(QUESTION, 401), False, ""),
    "Traefik's own 404": (Reply(QUESTION, 404, {}, b"404 page not found\n"), True, ""),
    "the backend's 404": (Reply(QUESTION, 404, {"server": "nginx"}, b"404 page not found\n"), False, ""),
    "no connection": (Reply(QUESTION, None, error="(7) Failed to connect"), True, ""),
    "no answer in time": (
        Reply(QUESTION, None, error="(28) Operation timed out after 5000 milliseconds with 0 bytes received"),
        False,
        "app-router: no answer in time: its backend http://192.0.2.7:80 is slow",
    ),
    "a backend that is down": (Reply(QUESTION, 502), False, "its backend http://192.0.2.7:80 does not answer (502)"),
    "a backend in trouble": (Reply(QUESTION, 500, {"content-type": "text/html"}), False, "answers 500"),
    "a backend nobody can verify": (
        Reply(QUESTION, 500, {}, b"Internal Server Error"),
        False,
        "Traefik cannot use its backend http://192.0.2.7:80",
    ),
}


@pytest.mark.parametrize("case", JUDGED)
def test_what_a_reply_tells(case: str) -> None:
    reply, is_failure, warning = JUDGED[case]
    failed, warnings = judge([reply], HTTP)
    assert failed == ([reply] if is_failure else [])
    assert len(warnings) == bool(warning)
    assert warning in " ".join(warnings)
