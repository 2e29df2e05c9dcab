"""The flow file: YAML in, frozen `replicator.model.spec.Spec` out, or every mistake at once.

Imports `core`, `model`, `files` and `errors`; only this room knows pydantic and ruamel.yaml. Start with `load.py`, and
follow a file through `yaml` (text to a tree with positions), `check.py` against `shape.py`, the rules of `lint`, and
`convert.py`. Beside that: `schema.py`, `diff.py` (what a reload changes), `advice.py`, and `mm2`.
"""
