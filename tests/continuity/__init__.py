"""What clients see while Traefik changes, measured."""
