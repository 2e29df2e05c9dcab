"""Record batches as bytes: headers, checksums, records, bounded decompression, encoding, rows for a comparison.

Imports nothing of `wire` but `cursor`. Begin with `batch.py`.
"""
