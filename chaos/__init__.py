"""Chaos runs: random faults on real clusters and daemons, and then a proof that both sides are equal.

``python -m chaos.run --help``
"""
