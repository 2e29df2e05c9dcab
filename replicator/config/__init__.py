"""The flow file: YAML in, frozen `replicator.model.spec.Spec` out, or every mistake at once.

Imports `core`, `model`, `files` and `errors`; only this room knows pydantic and ruamel.yaml. Begin with `load.py`, and
follow a file: `yaml_positions.py`, `interpolate.py`, `include.py`, `check.py` against `shape.py`, the rules of `lint`,
`convert.py`. Beside it: `schema.py`, `diff.py` (what a reload changes), `advice.py`, and `mm2`.
"""
