"""The flow file: YAML in, frozen `replicator.model.spec.Spec` out, or every mistake at once.

Entry points: `load.load`, `load.effective`, `schema.schema`, `diff.diff`.
Only this package knows pydantic and ruamel.yaml.
"""
