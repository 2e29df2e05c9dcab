"""The composition root: flows, servers and signals of one process.

Imports every room but `devkit` and `cli`. Begin with `daemon.py` (from the state directory to the last connection);
`flows.py` has the flows that run, each under a `supervisor.py`, and `control_port.py` answers what the servers ask.
`coordinator.py` is a process that only coordinates.
"""
