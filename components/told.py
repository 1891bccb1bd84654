"""Probes that tell what was changed by hand even where their inputs change too."""

from __future__ import annotations

from typing import Any

from pulumi.dynamic import DiffResult

from components.probe import LiveProvider, changed
from phoenix.remote.properties import one_sentence, plain_properties


class ToldProvider(LiveProvider):
    """Looks at the live state at every preview, by what was deployed: by what shall be, every new part would seem lost.

    For probes whose inputs change together with the files beside them: drift would else go untold just then.
    """

    @one_sentence
    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Whether the inputs changed, or what they ask for does not hold any more; the latter is told in any case."""
        olds, news = plain_properties(_olds), plain_properties(_news)
        if not changed(olds, news, self.no_change):
            return super().diff(_id, _olds, _news)
        self._lost({**olds, "connection": news["connection"]})
        return DiffResult(changes=True)
