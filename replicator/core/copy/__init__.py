"""What the copy of one partition may do next.

Imports `core.offsets` and `model`. Start with `machine.py` (the partition machine) and `lifecycle.py` (its phases),
over the values of `values.py`. Then follow a fetch response into `reading/intake.py`, a batch to the target into
`writing/sending.py`, and an attach into `attaching/attach.py`.
"""
