"""Record batches as bytes: headers, checksums, records, bounded decompression, encoding, rows for comparison.

Imports nothing from `wire` except `cursor`. Start with `batch.py`.
"""
