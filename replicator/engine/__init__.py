"""Runs flows: joins the pure decisions of `core` with the clusters on both sides.

Rooms, from the top down; each imports only from those below it:

- `flow`: one flow in one daemon, from its start to its end. Begin with `flow/runner.py`.
- `switch`: changes which side is open, step by step, with a journal.
- `preflight`: what can be said before anything is started.
- `verify`: compares both sides, record by record or by digests.
- `groups`, `offsets`: consumer groups follow; offsets are translated, faults resolved.
- `topics`: target topics and access rules are created, configured and proven ours.
- `copy`: the data path.
- `work`: which daemon works on what.
- `state`: the facts on `replicator.state`.
- `logs`: reads Kafka logs, and knows neither a flow nor the state topic.
"""
