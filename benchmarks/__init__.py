"""Benchmarks: each a module with a ``main``, run by ``benchmarks/run NAME``; ratios against a rival in the same run."""
