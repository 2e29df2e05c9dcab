"""Converts MirrorMaker 2's properties file to a flow file.

From `config` it imports the rules and shapes, since the written file must be valid. Start with `convert.py`; the path
is `properties.py`, `clusters.py` and `flows`, `yaml_text.py`, and `report.py` says what became of each line.
"""

from replicator.config.mm2.convert import Imported, convert
from replicator.config.mm2.report import Fate, Row

__all__ = ["Fate", "Imported", "Row", "convert"]
