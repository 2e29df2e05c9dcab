"""What the copy of one partition may do next. Begin with `machine.py` (the partition machine) and `attach.py`."""
