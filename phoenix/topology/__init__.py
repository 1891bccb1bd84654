"""A picture of an installation's ingress: who comes in, which way, and where to. Pure.

:func:`topology` says what is in the picture; :func:`as_text`, :func:`as_mermaid` and :func:`as_svg` draw it.
"""

from phoenix.topology.mermaid import as_mermaid
from phoenix.topology.model import Topology, topology
from phoenix.topology.svg import as_svg
from phoenix.topology.text import as_text

__all__ = ["Topology", "as_mermaid", "as_svg", "as_text", "topology"]
