"""Benchmarks and simulations, run by ``make bench…``; the pages beside them hold the measured results.

They are in ``tests/benchmarks`` and not in a top-level folder, because the owner of the project fixed the top level.
"""
