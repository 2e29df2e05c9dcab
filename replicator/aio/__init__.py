"""Tools for one event loop: tasks whose end is looked at, pieces of long work, threads for what blocks.

Imports `obs` and `errors`. Begin with `tasks.py`.
"""
