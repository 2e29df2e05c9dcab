"""HTTP: health, metrics and status for machines; later the console.

Imports `control` (what may be asked, and by whom), `obs`, `core` and `model`. Start with `http.py` (the endpoints);
`gate.py` says who may read what, `connections.py` how many there may be and for how long.
"""
