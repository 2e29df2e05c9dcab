"""The composition root: flows, servers and signals of one process."""
