"""Clients: of a daemon's services, of a coordinator, of other daemons, of etcd.

Imports `convert` and `control`, and never the server. Start with `control_client.py`, which the command line uses;
daemons use `lease_client.py` or `etcd_leases.py` (both are a `lease_port.LeasePort` or serve one) and `peers.py`.
`endpoint.py` is where all of them connect to.
"""
