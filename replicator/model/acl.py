"""One rule of a cluster's authorizer, as Kafka's requests have it."""

from __future__ import annotations

import json
from typing import NamedTuple

EVERYBODY = "User:*"
ANY_HOST = "*"
ANY_NAME = "*"
ALLOW, DENY = "ALLOW", "DENY"
LITERAL, PREFIXED = "LITERAL", "PREFIXED"
READING = ("DESCRIBE", "DESCRIBE_CONFIGS", "READ")
"""What a reader of a topic may do."""
TOPIC, GROUP, TRANSACTIONAL_ID = "TOPIC", "GROUP", "TRANSACTIONAL_ID"


class Rule(NamedTuple):
    """A rule; every field is Kafka's own word for it."""

    kind: str
    name: str
    pattern: str
    principal: str
    host: str
    operation: str
    permission: str

    def covers(self, kind: str, name: str) -> bool:
        """Return whether it is about that resource."""
        if self.kind != kind:
            return False
        if self.pattern == PREFIXED:
            return name.startswith(self.name)
        return self.name in {name, ANY_NAME}

    @property
    def is_known(self) -> bool:
        """Whether each of its words is one of ours: those of a newer Kafka are numbers."""
        return not (self.pattern.isdecimal() or self.operation.isdecimal() or self.permission.isdecimal())

    def text(self) -> str:
        """Return it as it is recorded."""
        return json.dumps(list(self))

    def __str__(self) -> str:
        what = f"{self.kind.lower()} {self.name}{'*' if self.pattern == PREFIXED else ''}"
        return f"{self.permission} {self.operation} on {what} for {self.principal} from {self.host}"


def parse(text: str) -> Rule:
    """Return a rule that was recorded."""
    return Rule(*json.loads(text))
