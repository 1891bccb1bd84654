"""Machine-local labs: the real parts of an installation, started on loopback (local) or in namespaces (container)."""
