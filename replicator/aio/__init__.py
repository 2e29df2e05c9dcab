"""Tools for one event loop: tasks whose end is looked at, pieces of long work, threads for what blocks.

Imports nothing of ours but `errors`. Begin with `tasks.py`.
"""
