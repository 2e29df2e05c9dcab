"""Values: names, states, status snapshots, batch headers, the meaning of a flow file. No I/O and no decisions.

Imports only the standard library and `errors`; every other room imports it. Start with `names.py`, then go by subject:
a flow (`spec.py`, `security.py`, `access_rules.py`, `acl.py`), a batch (`batch.py`), leases (`lease.py`); what a daemon
shows (`status`), what an operator orders and is answered (`operations`), a switch (`switch`).
"""
