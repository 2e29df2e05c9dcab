"""The text of a flow file becomes one tree that knows the line and column of everything in it.

Imports `model` and `files`; knows no key of the flow file. Start with `include.py`, which reads a file and its
includes; `positions.py` parses, `interpolate.py` fills in variables, `mistakes.py` collects what is wrong, here and in
the checks that follow.
"""
