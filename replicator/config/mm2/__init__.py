"""MirrorMaker 2's properties file as a flow file.

Imports of `config` its rules and shapes, since what is written has to be taken. Begin with `convert.py`; it goes from
`properties.py` over `clusters.py` and `flows.py` to `yaml_text.py`, and `report.py` says what became of each line.
"""

from replicator.config.mm2.convert import Imported, convert
from replicator.config.mm2.report import Fate, Row

__all__ = ["Fate", "Imported", "Row", "convert"]
