"""What is allowed in a flow file but may not mean what its author thinks. `validate` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.acl.granting import split
from replicator.model.units import format_address, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.model.spec import Spec


def advice(spec: Spec) -> Iterator[str]:
    """Yield one sentence for each thing to check."""
    for number, rule in enumerate(spec.daemon.access):
        if split(rule.identity)[0] is None:
            likely = "email" if "@" in rule.identity else "dns"
            yield (
                f"daemon.access[{number}].identity {rule.identity!r} has no kind: it matches DNS names, e-mail"
                f" addresses and IP addresses, never URIs or common names; write {likely}:{rule.identity}"
            )
    daemon = spec.daemon
    if daemon.http_public and is_loopback(daemon.http[0]):
        yield "daemon.http_public has no effect on loopback: everything is shown there"
    elif daemon.http_public:
        yield (
            f"daemon.http_public: anybody who reaches {format_address(daemon.http)} can read the names of flows, topics"
            " and groups in /metrics and /readyz, in plain text"
        )
