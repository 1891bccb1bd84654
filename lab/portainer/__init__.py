"""A server that behaves like Portainer's API, for tests and for the lab.

It is built from how the real servers 2.23.0, 2.39.0 and 2.41 answered; what is only read from the source of 2.43 says
so. It knows nothing of the portainer manager, so that the two are independent opinions of the same API.

As a command: ``python -m lab.portainer --mode 2.39 --port 9443 --certificate FILE --key FILE``. In a test::

    with StandIn(mode="2.41", certificate=…, key=…) as server:
        server.faults.add("POST", "/api/stacks", "500-after")
        …
        assert server.log.writes() == []
"""

from lab.portainer.server import StandIn

__all__ = ["StandIn"]
