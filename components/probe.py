"""Dynamic resources that look at a target's live state: at every preview, and again before what depends on them.

A probe's inputs say what must hold. :meth:`LiveProvider.diff` looks at each preview, so that what has been lost shows
there like any other drift; create and update wait until it holds, and fail, so that nothing that depends on the
probe is touched otherwise. A Pulumi hook would not do: a failing after-hook only warns.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from phoenix.errors import PhoenixError, UnreachableError
from phoenix.remote import Connection, Transport, open_transport
from phoenix.remote.properties import one_sentence, plain_properties, say
from phoenix.remote.reachability import forget_failure, known_failure, note_failure


class LiveProvider(ResourceProvider):
    """Base of the probes' providers. A subclass says what must hold and how to mend it.

    Attributes:
        what: names the probe in messages.
        interval: seconds between two looks while waiting.
        unreachable_is_a_change: whether a preview that cannot see the target counts the probe as changed, so that
            ``up`` tries again and stops there. One probe at the front does; for the others drift is unknown.
        no_change: inputs that may change without the probe being updated.
    """

    what = "live state"
    interval = 0.1
    unreachable_is_a_change = False
    no_change: frozenset[str] = frozenset({"connection"})

    def problems(self, transport: Transport, props: Mapping[str, Any]) -> list[str]:
        """A phrase for each thing that does not hold; none where all is well."""
        raise NotImplementedError

    def mend(self, transport: Transport, props: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Do what can be done before waiting; by default nothing."""

    def failure(self, props: Mapping[str, Any], problems: list[str]) -> PhoenixError:
        """The error for what still does not hold at the limit."""
        seconds = props.get("timeout", 0)
        return PhoenixError(f"{self.what}: {'; '.join(problems)} (waited {seconds:g} s).")

    def removed(self, transport: Transport, props: Mapping[str, Any]) -> None:
        """Undo what :meth:`mend` did when the resource goes; by default nothing."""

    def outputs(self, props: Mapping[str, Any]) -> dict[str, Any]:
        """The resource's outputs: its inputs."""
        return dict(props)

    def _settle(self, props: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        deadline = time.monotonic() + float(props.get("timeout", 0))
        connection = Connection.parse(props["connection"])
        transport = open_transport(connection)
        self.mend(transport, props, old)
        while True:
            try:
                found = self.problems(transport, props)
            except UnreachableError:
                if time.monotonic() >= deadline:
                    raise
                found = ["the target does not answer"]
            if not found:
                forget_failure(connection)
                return
            if time.monotonic() >= deadline:
                raise self.failure(props, found)
            time.sleep(self.interval)

    @one_sentence
    def create(self, props: dict[str, Any]) -> CreateResult:
        """Mend, then wait until all holds."""
        self._settle(plain_properties(props), None)
        return CreateResult(self.what.replace(" ", "-"), self.outputs(props))

    @one_sentence
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Mend, then wait until all holds."""
        self._settle(plain_properties(_news), plain_properties(_olds))
        return UpdateResult(self.outputs(_news))

    @one_sentence
    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Whether the inputs changed, or what they ask for does not hold any more."""
        olds, news = plain_properties(_olds), plain_properties(_news)
        return DiffResult(changes=changed(olds, news, self.no_change) or self._lost(news))

    def _lost(self, props: Mapping[str, Any]) -> bool:
        connection = Connection.parse(props["connection"])
        if known_failure(connection) is not None:  # and was told once
            return self.unreachable_is_a_change
        try:
            found = self.problems(open_transport(connection), props)
        except UnreachableError as error:
            note_failure(connection, str(error))
            say(f"{self.what} and any drift there are unknown: {error}")
            return self.unreachable_is_a_change
        for phrase in found:
            say(f"{self.what}: {phrase}")
        return bool(found)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Nothing is stored about the live state, so a refresh finds nothing to change."""
        return ReadResult(id_, self.outputs(props))

    @one_sentence
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Undo what the resource did."""
        props = plain_properties(_props)
        if type(self).removed is not LiveProvider.removed:
            self.removed(open_transport(Connection.parse(props["connection"])), props)


def changed(olds: Mapping[str, Any], news: Mapping[str, Any], ignored: frozenset[str]) -> bool:
    """Whether any input differs, but for those that are ignored."""
    return any(olds.get(key) != value for key, value in news.items() if key not in ignored)
