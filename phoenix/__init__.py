"""The domain of Phoenix ingress: what a hypervisor's guests are, and what Traefik and Portainer shall do for them.

Everything here but :mod:`phoenix.remote`, :mod:`phoenix.portainer` and :mod:`phoenix.cli` is pure: functions from
data to data, without I/O and without an import of Pulumi.
"""
