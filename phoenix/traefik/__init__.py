"""Traefik's three files, rendered and checked as pure functions: static configuration, dynamic configuration, unit."""
