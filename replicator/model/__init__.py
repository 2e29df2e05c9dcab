"""Values: names, states, status snapshots, batch headers, the meaning of a flow file. No I/O and no decisions.

Imports only the standard library and `errors`; every other room imports it. Start with `names.py` and `states.py`, then
go by subject: a flow (`spec.py`, `security.py`, `access_rules.py`, `acl.py`), its status (`status.py`, `groups.py`,
`events.py`), a batch (`batch.py`), leases (`lease.py`), what an operator orders or sees (`resolution.py`,
`translation.py`, `forget.py`, `damage.py`, `report.py`, `audit.py`), and a switch (`switch/`).
"""
