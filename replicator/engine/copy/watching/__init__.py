"""What is looked at now and then beside the copy: log starts, strangers on idle mirrors, open transactions.

Imports the pump, which knows nothing of it. Begin with `target_ends.py`.
"""
