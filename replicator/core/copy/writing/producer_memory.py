"""How long the brokers of a cluster remember producers: exactly-once relies on the shortest of these times.

`producer.id.expiration.ms` (KIP-854, since Kafka 3.4) is a setting of each broker. Before that,
`transactional.id.expiration.ms` applied to producers as well (`LogManager.maxPidExpirationMs` of Kafka 2.8 to 3.3); a
broker reads it only when it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

EXPIRATION = "producer.id.expiration.ms"
EXPIRATION_BEFORE_3_4 = "transactional.id.expiration.ms"
EXPIRATION_DEFAULT_MS = 86_400_000
"""The default of `EXPIRATION`, assumed for a broker that does not report it."""
_APACHE = "transaction.remove.expired.transaction.cleanup.interval.ms"
"""Only Apache's own brokers report it: on any other, the older setting proves nothing about producers."""
_TIME_MS_MAX = 2**31 - 1
SETTINGS = (EXPIRATION, EXPIRATION_BEFORE_3_4, _APACHE)


@dataclass(frozen=True, slots=True)
class ProducerMemory:
    """What the brokers of a cluster report.

    Attributes:
        by_broker: Milliseconds of record time, by broker that reports it.
        silent: Brokers that could not be asked, or do not report it.
        setting: Name of the setting that applies on these brokers.
    """

    by_broker: Mapping[int, int]
    silent: tuple[int, ...] = ()
    setting: str = EXPIRATION

    def and_before(self, before: ProducerMemory | None) -> ProducerMemory:
        """Return it with earlier values of brokers that are silent now: they may be back, and lead, at any moment."""
        if before is None:
            return self
        known = {**before.by_broker, **self.by_broker}
        return replace(self, by_broker=known, silent=tuple(broker for broker in self.silent if broker not in known))

    @property
    def is_complete(self) -> bool:
        """Whether every broker reports it."""
        return bool(self.by_broker) and not self.silent

    @property
    def shortest_ms(self) -> int:
        """What may be relied on: the shortest memory of all; a silent broker counts with the default."""
        assumed = [] if self.is_complete else [EXPIRATION_DEFAULT_MS]
        return min([*self.by_broker.values(), *assumed])

    @property
    def differs(self) -> bool:
        """Whether brokers remember producers for different times."""
        return len(set(self.by_broker.values())) > 1

    @property
    def is_dynamic(self) -> bool:
        """Whether the setting can be changed while a broker runs."""
        return self.setting == EXPIRATION


def producer_memory(described: Mapping[int, Mapping[str, str | None] | None]) -> ProducerMemory:
    """Return how long brokers remember producers.

    Args:
        described: By broker, those of `SETTINGS` that it has; None for one that could not be asked.
    """
    by_broker: dict[int, int] = {}
    silent: list[int] = []
    setting = EXPIRATION
    for broker, settings in sorted(described.items()):
        value = (settings or {}).get(EXPIRATION)
        if value is None and settings is not None and EXPIRATION not in settings and _APACHE in settings:
            value = settings.get(EXPIRATION_BEFORE_3_4)
            setting = EXPIRATION_BEFORE_3_4
        if value is None or not _is_time(value):
            silent.append(broker)
        else:
            by_broker[broker] = int(value)
    return ProducerMemory(by_broker, tuple(silent), setting)


def _is_time(text: str) -> bool:
    """Return whether a broker reported a time; if it reported anything else, how long it remembers is unknown."""
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_TIME_MS_MAX)) and 0 < int(text) <= _TIME_MS_MAX


def spread(memory: ProducerMemory) -> str:
    """Return each broker's time, for a message."""
    return ", ".join(f"broker {broker}: {value:,} ms" for broker, value in sorted(memory.by_broker.items()))
