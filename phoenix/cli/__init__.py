"""The ``phoenix`` command."""
