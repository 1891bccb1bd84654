"""What can go wrong with Portainer, below :class:`phoenix.errors.PortainerError`.

::

    PortainerError
    ├── UnavailableError          nothing answered: the request was not carried out
    ├── UncertainError            the answer got lost: the request may have been carried out
    ├── RefusedError              Portainer answered with an error status
    │   ├── AuthenticationError   422 or 401: wrong name or password, a key that was revoked
    │   ├── LockedError           403 on a login: locked for an hour after too many logins
    │   ├── NotFoundError         404
    │   ├── ConflictError         409: the name is taken, or a deployment is under way
    │   ├── SetupExpiredError     303: nobody made the first user within five minutes of the start
    │   └── ServerFailedError     5xx from Portainer itself
    ├── DeploymentError           Portainer took a stack and could not deploy it
    ├── LoginsSpentError          the server voided so many logins that another could lock the address
    ├── ProtocolError             the answer is not what Portainer's API documents
    └── StepError                 a step of a run failed; its exit code says which
"""

from __future__ import annotations

from phoenix.errors import PortainerError


class UnavailableError(PortainerError):
    """Nothing answered; the request never arrived, so that it may be sent again."""


class UncertainError(PortainerError):
    """The connection or a proxy gave up before the answer: look before sending it again."""


class ProtocolError(PortainerError):
    """The answer is not Portainer's."""


class LoginsSpentError(PortainerError):
    """A run may not log in again."""


class DeploymentError(PortainerError):
    """Portainer accepted a stack and could not deploy it."""


class RefusedError(PortainerError):
    """Portainer answered with an error status.

    Attributes:
        status: the HTTP status.
        said: what Portainer said, secrets masked.
    """

    def __init__(self, message: str, *, status: int, said: str) -> None:
        super().__init__(message)
        self.status = status
        self.said = said


class AuthenticationError(RefusedError):
    """The name, password or key is wrong."""


class LockedError(RefusedError):
    """Logins from this address are locked for an hour."""


class NotFoundError(RefusedError):
    """There is no such record."""


class ConflictError(RefusedError):
    """The name is taken, or a deployment is under way."""


class SetupExpiredError(RefusedError):
    """The server closed its set-up and waits for a restart."""


class ServerFailedError(RefusedError):
    """Portainer failed while it carried the request out."""


class StepError(PortainerError):
    """A step of a run failed.

    Attributes:
        step: the step's name.
        exit_code: the step's exit code, see ``docs/portainer.md``.
    """

    def __init__(self, step: str, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.step = step
        self.exit_code = exit_code
