"""What can be known before anything is started or moved: read-only, bounded in time.

Imports `topics`, `state` and `logs`. Begin with `check.py` (`validate --connect`); `rehearse.py` answers whether a flow
could be moved now.
"""
