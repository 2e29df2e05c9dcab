"""Record batches as bytes: headers, checksums, records, bounded decompression, encoding, rows for comparison.

Imports nothing from `wire` except `protocol.cursor`. Start with `batch.py`.
"""
