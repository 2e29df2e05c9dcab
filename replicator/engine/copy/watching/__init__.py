"""What is checked from time to time beside the copy: log starts, foreign writes to idle mirrors, open transactions.

Imports the pump, which does not know this room. Start with `target_ends.py`.
"""
