"""One process of a local cluster: its settings, its files, its ports, its start and end.

Imports `runtime`. Start with `broker.py` over `node.py`; `config.py` has the settings of a whole cluster.
"""
