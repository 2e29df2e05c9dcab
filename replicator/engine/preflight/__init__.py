"""Checks before anything is started or switched: read-only, bounded in time.

Imports `topics`, `state` and `logs`. Start with `check.py` (`validate --connect`); `rehearse.py` answers whether a flow
could be switched now.
"""
