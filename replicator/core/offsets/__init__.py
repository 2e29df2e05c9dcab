"""Which offset of one log stands for which of the other, and ways out of a fault. Begin with `offset_map.py`."""
