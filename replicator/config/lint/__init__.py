"""Rules of a flow file that no single key shows.

Each looks at the sound part of a file and notes its mistakes; none raises. Imports of `config` only `check`, `mistakes`
and `shape`. Begin with `every_rule.py`, which has the list of them; a rule about one flow or two that meet is in
`flows.py`.
"""
