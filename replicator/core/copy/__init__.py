"""What the copy of one partition may do next.

Imports `core.offsets` and `model`. Begin with `machine.py` (the partition machine), then follow an answer of the source
into `intake.py`, and an attach into `attach.py`.
"""
