"""Messages of our services to values of `model` and back: the only room that knows both.

Imports `model`, `control` (requests), `errors` and the generated messages. Start with `values.py`; `orders.py` and
`switch.py` are the same by subject, `faults.py` carries errors.
"""
