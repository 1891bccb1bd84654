"""The NGINX gateway in front of Traefik: its site, rendered as pure functions."""
