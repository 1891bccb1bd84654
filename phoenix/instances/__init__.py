"""Portainer's own containers: what runs on which VM, as Compose text and shell scripts. Pure."""
