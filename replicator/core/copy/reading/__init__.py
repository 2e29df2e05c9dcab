"""What becomes of what a source returns: batches, gaps, transactions, claims that are suspect.

Imports `attaching` and the values of the room above. Start with `intake.py` (the fate of each batch), then
`position.py` (how far the reading got); `doubt.py` and `trust.py` are about claims that no checksum covers.
"""
