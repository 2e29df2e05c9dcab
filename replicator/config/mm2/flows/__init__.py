"""Converts one flow of MirrorMaker 2: its topics, their names, patterns and settings.

Imports the room above (lines, options, the report), except `convert.py` and `header.py`. Start with `flows.py`, then
`selection.py`.
"""
