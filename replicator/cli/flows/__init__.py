"""Commands about flows and what belongs to them: mirrors, groups, offsets, leases, damaged records.

Imports `remote` and `printing` of `cli`, `rpc.client` and `control`. Start with `flow.py`, which also has the options
that the other commands share.
"""
