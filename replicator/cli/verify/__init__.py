"""`replicator verify`: once, continuously, or by digests.

Imports `remote` and `printing` of `cli`, and `engine.verify`. Start with `verify.py`, which chooses among the others;
`request.py` is what they share.
"""
