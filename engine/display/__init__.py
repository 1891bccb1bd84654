"""Shows an operation: a live tree on a terminal, plain lines elsewhere, diffs, or JSON."""
