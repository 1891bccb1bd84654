"""The portainer manager: stack outputs → plan → Portainer's API."""
