"""What the copy of one partition may do next.

Imports `core.offsets` and `model`. Start with `machine.py` (the partition machine), then follow a fetch response into
`intake.py`, and an attach into `attach.py`.
"""
