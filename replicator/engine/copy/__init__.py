"""The data path: attach, seed, read, write, fill, settle.

One `Pump` per flow holds a `Slot` for each partition; a reader per source broker and a writer per target broker carry
batches between them. What is allowed is decided by `core.copy`. Imports `work`, `state` and `logs`. Begin with
`pump.py`, then follow a batch: `reading/reader.py`, `reading/rewriting.py`, `writing/writer.py`.
Rooms above know a partition as a `PartitionView` (`view.py`) and the pump as a `Copier` (`copier.py`); another way of
copying has to be one.
"""
