"""The command line, by object. Slow imports wait until a command needs them.

Imports every other room, and nothing imports it. Start with `main.py`, which puts the commands together; `remote.py` is
what all commands share that talk to a daemon. Commands about a flow and what belongs to it are in `flows`; `switch`,
`verify` and `demo` are one command each, or one family; `printing` is how all of them print.
"""
