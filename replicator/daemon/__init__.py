"""The composition root: flows, servers and signals of one process.

Imports every room except `devkit` and `cli`. Start with `daemon.py` (from the state directory to the last connection);
`flows.py` has the running flows, each under a `supervisor.py`, and `control_port.py` answers the requests of the
servers. `coordinator.py` is a process that only coordinates.
"""
