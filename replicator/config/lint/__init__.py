"""Rules of a flow file that no single key shows.

Each rule looks at the sound part of a file and notes mistakes; none raises. From `config`, it imports only `check`,
`mistakes` and `shape`. Start with `every_rule.py`, which lists the rules; those about one flow, or two that meet, are
in `flows.py`.
"""
