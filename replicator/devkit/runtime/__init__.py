"""What it takes to run Kafka here: Java, its jars, and processes that never outlive us.

Imports nothing of `devkit`. Start with `distribution.py` (the jars); `guard.py` is a program of its own.
"""
