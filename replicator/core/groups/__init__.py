"""How consumer groups follow: what is written to the target, when it may be written, and why something is left alone.

Imports `model` only. Its one file is `sync.py`.
"""
