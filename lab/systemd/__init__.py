"""A small service manager: what a container's PID 1 and its ``systemctl`` do, without root and without systemd.

It reads the same unit files, supervises what they say and answers the same commands with the same words and
exit codes (systemd 255). Sandboxing directives are read and reported, but not enforced: they need namespaces.
"""
