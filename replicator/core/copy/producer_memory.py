"""For how long the brokers of a cluster remember producers: exactly-once rests on the shortest of them.

`producer.id.expiration.ms` (KIP-854, since Kafka 3.4) is a setting of each broker. Before,
`transactional.id.expiration.ms` counted for producers as well (`LogManager.maxPidExpirationMs` of Kafka 2.8 to 3.3); it
is read at a broker's start only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

EXPIRATION = "producer.id.expiration.ms"
EXPIRATION_BEFORE_3_4 = "transactional.id.expiration.ms"
EXPIRATION_DEFAULT_MS = 86_400_000
"""Of `EXPIRATION`, and assumed of whoever does not tell."""
_APACHE = "transaction.remove.expired.transaction.cleanup.interval.ms"
"""Only Apache's own brokers tell it: of any other the older setting proves nothing about producers."""
_TIME_MS_MAX = 2**31 - 1
SETTINGS = (EXPIRATION, EXPIRATION_BEFORE_3_4, _APACHE)


@dataclass(frozen=True, slots=True)
class ProducerMemory:
    """What the brokers of a cluster tell.

    Attributes:
        by_broker: Milliseconds of record time, of each broker that tells.
        silent: Brokers that could not be asked, or do not tell.
        setting: The name that counts on these brokers.
    """

    by_broker: Mapping[int, int]
    silent: tuple[int, ...] = ()
    setting: str = EXPIRATION

    def and_before(self, before: ProducerMemory | None) -> ProducerMemory:
        """Return it with what brokers told before that do not answer now: they may be back, and lead, any moment."""
        if before is None:
            return self
        known = {**before.by_broker, **self.by_broker}
        return replace(self, by_broker=known, silent=tuple(broker for broker in self.silent if broker not in known))

    @property
    def is_told(self) -> bool:
        """Whether every broker tells it."""
        return bool(self.by_broker) and not self.silent

    @property
    def shortest_ms(self) -> int:
        """What may be relied on: the shortest memory of all; a broker that does not tell counts with the default."""
        assumed = [] if self.is_told else [EXPIRATION_DEFAULT_MS]
        return min([*self.by_broker.values(), *assumed])

    @property
    def differs(self) -> bool:
        """Whether brokers remember for different times."""
        return len(set(self.by_broker.values())) > 1

    @property
    def is_dynamic(self) -> bool:
        """Whether the setting can be changed while a broker runs."""
        return self.setting == EXPIRATION


def producer_memory(told: Mapping[int, Mapping[str, str | None] | None]) -> ProducerMemory:
    """Return what brokers remember.

    Args:
        told: By broker, those of `SETTINGS` that it has; None of one that could not be asked.
    """
    by_broker: dict[int, int] = {}
    silent: list[int] = []
    setting = EXPIRATION
    for broker, settings in sorted(told.items()):
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
    """Return whether a broker told a time; whatever else it told, how long it remembers is not known."""
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_TIME_MS_MAX)) and 0 < int(text) <= _TIME_MS_MAX


def spread(memory: ProducerMemory) -> str:
    """Return each broker's time, for a message."""
    return ", ".join(f"broker {broker}: {value:,} ms" for broker, value in sorted(memory.by_broker.items()))
