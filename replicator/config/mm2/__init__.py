"""MirrorMaker 2's properties file as a flow file."""

from replicator.config.mm2.convert import Imported, convert
from replicator.config.mm2.report import Fate, Row

__all__ = ["Fate", "Imported", "Row", "convert"]
