"""The data path: attach, seed, read, write, fill, settle.

One `Pump` per flow holds its partitions (`partitions`); a reader per source broker and a writer per target broker carry
batches between them. `core.copy` decides what is allowed. Imports `work`, `state` and `logs`. Start with `pump.py`,
then follow a batch: `reading/reader.py`, `reading/rewriting.py`, `writing/writer.py`.
Rooms above know a partition as a `PartitionView` (`partitions/view.py`) and the pump as a `Copier` (`copier.py`). Any
other way of copying has to implement `Copier`.
"""
