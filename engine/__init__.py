"""The embedded engine: runs a Pulumi program in this process, on the official CLI's own state.

Parts: :mod:`engine.cli` (command line), :mod:`engine.sdk` (the seam to the Pulumi SDK),
:mod:`engine.monitor` (what the program calls), :mod:`engine.steps` and :mod:`engine.deployment`
(what is done, in which order), :mod:`engine.diff`, :mod:`engine.checkpoint`, :mod:`engine.journal`,
:mod:`engine.backend`, :mod:`engine.secrets`, :mod:`engine.providers` and :mod:`engine.display`.
"""

VERSION = "0.1.0"
