"""What an operator orders or asks about, and the answers, as values.

Imports `status`. One file per subject: `resolution.py` (a way out of a fault), `translation.py` (offsets), `forget.py`,
`damage.py` (unreadable records), `report.py` (what a preflight found), `audit.py`. Start with `resolution.py`.
"""
