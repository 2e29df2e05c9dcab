"""The switch machine: a journal and facts in, the next step out; a result in, the journal's changes out.

Imports `model.switch` and, of `core`, what a journal holds. Start with `machine.py` (which step is next), then
`steps.py` and `results.py` (what is asked of whoever carries it out, and answered), `recording.py` (how the journal
notes it) and `helps.py` (what an operator can do next).
"""
