"""How commands print: tables, JSON and YAML, statuses, findings, errors.

Imports `core.status`, `model` and `errors`, and no command. Start with `output.py`, the one way to print; then by
subject: `views.py` (status), `findings.py` (preflights and rehearsals), `failure.py` (an error that ends a command).
"""
