"""The providers built in: dynamic resources, ``command``, and Pulumi's own stack reference."""
