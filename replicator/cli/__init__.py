"""The command line: one module per noun. Slow imports wait until a command needs them.

Imports every other room, and nothing imports it. Begin with `main.py`, which puts the nouns together; `remote.py` is
what all commands share that talk to a daemon, `output.py` the one way they print, `failure.py` what a person reads of
an error. The demo is `demo.py` over `demo_story.py`.
"""
