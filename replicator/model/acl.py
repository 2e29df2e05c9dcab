"""One rule of a cluster's authorizer, with the values of Kafka's requests."""

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
    """A rule; every field has Kafka's own name for its value."""

    kind: str
    name: str
    pattern: str
    principal: str
    host: str
    operation: str
    permission: str

    def covers(self, kind: str, name: str) -> bool:
        """Return whether it applies to that resource."""
        if self.kind != kind:
            return False
        if self.pattern == PREFIXED:
            return name.startswith(self.name)
        return self.name in {name, ANY_NAME}

    @property
    def is_known(self) -> bool:
        """Whether this version knows all its values: those of a newer Kafka appear as numbers."""
        return not (self.pattern.isdecimal() or self.operation.isdecimal() or self.permission.isdecimal())

    def text(self) -> str:
        """Return the rule in its recorded form."""
        return json.dumps(list(self))

    def __str__(self) -> str:
        what = f"{self.kind.lower()} {self.name}{'*' if self.pattern == PREFIXED else ''}"
        return f"{self.permission} {self.operation} on {what} for {self.principal} from {self.host}"


def parse(text: str) -> Rule:
    """Return a rule from its recorded form."""
    return Rule(*json.loads(text))
