"""The ACME resources of one authority over HTTP: RFC 8555, section 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.acme import jose
from lab.acme.authority import Account, Authorization, Challenge, Order, ProblemError, State, stamp
from lab.local.http import Request, Response

_ERROR = "urn:ietf:params:acme:error:"
_MEDIA_TYPE = "application/jose+json"
Handler = Callable[[str, Account, dict[str, Any] | None], Response]


class Resources:
    """Answers requests below one directory.

    Args:
        state: the authority.
        base: the directory's URL without ``/directory``, such as ``https://127.10.0.10:9000/acme/acme``.
    """

    def __init__(self, state: State, base: str) -> None:
        self.state = state
        self.base = base
        self._handlers: dict[str, Handler] = {
            "new-order": self._new_order,
            "account": self._account,
            "order": self._order,
            "authz": self._authorization,
            "challenge": self._challenge,
            "finalize": self._finalize,
            "certificate": self._certificate,
            "revoke-cert": self._revoke,
        }

    def answer(self, request: Request, path: str) -> Response:
        """Answer a request.

        Args:
            request: as received.
            path: its path below the base, without the leading slash.
        """
        resource, _, identity = path.partition("/")
        try:
            if resource == "directory" and request.method == "GET":
                return self._with_nonce(Response(self._directory()))
            if resource == "new-nonce" and request.method in {"HEAD", "GET"}:
                return self._with_nonce(Response(b"", 200 if request.method == "HEAD" else 204))
            return self._with_nonce(self._post(request, resource, identity))
        except jose.JoseError as error:
            return self._with_nonce(_problem(ProblemError("malformed", str(error))))
        except ProblemError as problem:
            return self._with_nonce(_problem(problem))

    def _directory(self) -> dict[str, object]:
        names = {
            "newNonce": "new-nonce",
            "newAccount": "new-account",
            "newOrder": "new-order",
            "revokeCert": "revoke-cert",
        }
        return {key: f"{self.base}/{name}" for key, name in names.items()}

    def _with_nonce(self, response: Response) -> Response:
        more = (
            ("Replay-Nonce", self.state.new_nonce()),
            ("Cache-Control", "no-store"),
            ("Link", f'<{self.base}/directory>;rel="index"'),
        )
        return Response(response.body, response.status, (*response.headers, *more), response.content_type)

    def _post(self, request: Request, resource: str, identity: str) -> Response:
        if request.method != "POST":
            raise ProblemError("malformed", f"{request.method} is not allowed here", 405)
        if request.headers.get("content-type", "") != _MEDIA_TYPE:
            raise ProblemError("malformed", f"the content type must be {_MEDIA_TYPE}", 415)
        signed = jose.parse(request.body)
        path = f"{resource}/{identity}" if identity else resource
        if signed.header.get("url") != f"{self.base}/{path}":
            raise ProblemError("unauthorized", f"the signed url is not {self.base}/{path}", 401)
        if resource == "new-account":
            key = jose.key(signed.header.get("jwk"))
            signed.verify(key)
            self.state.use_nonce(signed.header.get("nonce"))
            return self._new_account(key, signed.payload or {})
        handler = self._handlers.get(resource)
        if handler is None:
            raise ProblemError("malformed", f"there is no {resource}", 404)
        account = self.state.accounts.get(str(signed.header.get("kid", "")).removeprefix(f"{self.base}/account/"))
        if account is None or account.status != "valid":
            raise ProblemError("accountDoesNotExist", "no account has this key id")
        signed.verify(account.key)
        self.state.use_nonce(signed.header.get("nonce"))
        return handler(identity, account, signed.payload)

    def _new_account(self, key: jose.Key, payload: dict[str, Any]) -> Response:
        known = self.state.account_of(key)
        if known is None and payload.get("onlyReturnExisting"):
            raise ProblemError("accountDoesNotExist", "this key has no account")
        contact = payload.get("contact")
        account = known or self.state.register(
            key, [str(each) for each in contact] if isinstance(contact, list) else []
        )
        return self._show_account(account, 200 if known else 201)

    def _show_account(self, account: Account, status: int = 200) -> Response:
        where = f"{self.base}/account/{account.identity}"
        body = {"status": account.status, "contact": account.contact, "orders": f"{where}/orders"}
        return Response(body, status, (("Location", where),))

    def _account(self, identity: str, account: Account, payload: dict[str, Any] | None) -> Response:
        if identity != account.identity:
            raise ProblemError("unauthorized", "this is another account", 403)
        if payload and payload.get("status") == "deactivated":
            account.status = "deactivated"
        return self._show_account(account)

    def _new_order(self, identity: str, account: Account, payload: dict[str, Any] | None) -> Response:
        del identity
        return self._show_order(self.state.order(account, (payload or {}).get("identifiers")), 201)

    def _show_order(self, order: Order, status: int = 200) -> Response:
        self.state.refresh(order)
        body: dict[str, object] = {
            "status": order.status,
            "expires": stamp(order.expires),
            "identifiers": [{"type": "dns", "value": name} for name in order.names],
            "authorizations": [f"{self.base}/authz/{each}" for each in order.authorizations],
            "finalize": f"{self.base}/finalize/{order.identity}",
        }
        if order.certificate:
            body["certificate"] = f"{self.base}/certificate/{order.certificate}"
        return Response(body, status, (("Location", f"{self.base}/order/{order.identity}"),))

    def _own_order(self, identity: str, account: Account) -> Order:
        order = self.state.orders.get(identity)
        if order is None or order.account != account.identity:
            raise ProblemError("malformed", "there is no such order", 404)
        return order

    def _order(self, identity: str, account: Account, payload: dict[str, Any] | None) -> Response:
        del payload
        return self._show_order(self._own_order(identity, account))

    def _own_authorization(self, identity: str, account: Account) -> Authorization:
        authorization = self.state.authorizations.get(identity)
        if authorization is None or authorization.account != account.identity:
            raise ProblemError("malformed", "there is no such authorization", 404)
        return authorization

    def _authorization(self, identity: str, account: Account, payload: dict[str, Any] | None) -> Response:
        authorization = self._own_authorization(identity, account)
        if payload and payload.get("status") == "deactivated":
            authorization.status = "deactivated"
        return Response(
            {
                "status": authorization.status,
                "identifier": {"type": "dns", "value": authorization.name},
                "challenges": [self._challenge_body(authorization, each) for each in authorization.challenges],
            }
        )

    def _challenge_body(self, authorization: Authorization, challenge: Challenge) -> dict[str, object]:
        body: dict[str, object] = {
            "type": challenge.kind,
            "url": f"{self.base}/challenge/{authorization.identity}/{challenge.identity}",
            "token": challenge.token,
            "status": challenge.status,
        }
        if challenge.error:
            body["error"] = challenge.error
        if challenge.validated:
            body["validated"] = challenge.validated
        return body

    def _challenge(self, identity: str, account: Account, payload: dict[str, Any] | None) -> Response:
        first, _, second = identity.partition("/")
        authorization = self._own_authorization(first, account)
        challenge = next((each for each in authorization.challenges if each.identity == second), None)
        if challenge is None:
            raise ProblemError("malformed", "there is no such challenge", 404)
        if payload is not None:
            self.state.begin(account, authorization, challenge)
        up = (("Link", f'<{self.base}/authz/{authorization.identity}>;rel="up"'),)
        return Response(self._challenge_body(authorization, challenge), 200, up)

    def _finalize(self, identity: str, account: Account, payload: dict[str, Any] | None) -> Response:
        order = self._own_order(identity, account)
        self.state.finalize(order, jose.decode((payload or {}).get("csr")))
        return self._show_order(order)

    def _certificate(self, identity: str, account: Account, payload: dict[str, Any] | None) -> Response:
        del payload
        owner, content = self.state.certificates.get(identity, ("", b""))
        if owner != account.identity:
            raise ProblemError("malformed", "there is no such certificate", 404)
        return Response(content, content_type="application/pem-certificate-chain")

    def _revoke(self, identity: str, account: Account, payload: dict[str, Any] | None) -> Response:
        del identity, account, payload
        raise ProblemError("unauthorized", "the lab revokes nothing: its certificates end with it", 403)


def _problem(problem: ProblemError) -> Response:
    body = {"type": _ERROR + problem.kind, "detail": str(problem), "status": problem.status}
    return Response(body, problem.status, content_type="application/problem+json")
