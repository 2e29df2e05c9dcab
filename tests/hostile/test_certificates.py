"""Certificates of brokers that prove nothing, or something else: each is refused by its reason, the good ones work."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from replicator.errors import AuthenticationFailed, KafkaError
from replicator.model.security import Protocol, Security
from replicator.wire.cluster import Cluster, Purpose
from tests.certs import LOOPBACK, Authority, KeyPair
from tests.hostile.broker import TOPIC, HostileBroker

DAY = dt.timedelta(days=1)
_TEXT_CHARS_MAX = 1_000


def serving(pair: KeyPair) -> ssl.SSLContext:
    """Return what a TLS listener needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_file, pair.key_file)
    return context


def names(count: int) -> list[x509.GeneralName]:
    """Return so many names, the right one last."""
    return [*(x509.DNSName(f"broker-{number}.example") for number in range(count)), LOOPBACK[0]]


def failure(error: KafkaError) -> str:
    """Return why something failed; a person can read it, and act on it."""
    assert error.with_next_step().isprintable()
    assert len(error.with_next_step()) < _TEXT_CHARS_MAX
    assert error.next_step
    return error.why


Issue = Callable[[Authority], KeyPair]
WRONG: dict[str, tuple[Issue, str]] = {
    "expired": (lambda ours: ours.issue("a", lifetime=-DAY), "has expired"),
    "not valid yet": (lambda ours: ours.issue("a", begins=DAY, lifetime=2 * DAY), "not yet valid"),
    "of another authority": (
        lambda ours: Authority(ours.ca_file.parent, "stranger").issue("a"),
        "unable to get local issuer certificate",
    ),
    "for another name": (lambda ours: ours.issue("a", hosts=[x509.DNSName("other.example")]), "Hostname mismatch"),
    "for its common name alone": (
        lambda ours: ours.issue("localhost", hosts=[x509.DNSName("other.example")]),
        "Hostname mismatch",
    ),
    "for a name that goes on behind a NUL": (
        lambda ours: ours.issue("a", hosts=[x509.DNSName("localhost\0.evil.example")]),
        "Hostname mismatch",
    ),
    "for everybody": (lambda ours: ours.issue("a", hosts=[x509.DNSName("*")]), "Hostname mismatch"),
    "for the address as a name": (lambda ours: ours.issue("a", hosts=[x509.DNSName("127.0.0.1")]), "Hostname mismatch"),
    "for ten thousand": (lambda ours: ours.issue("a", hosts=names(10_000)), "EXCESSIVE_MESSAGE_SIZE"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_certificate_that_proves_nothing_is_refused(tmp_path: Path, name: str) -> None:
    """By its reason, and nothing is asked of whoever shows it."""
    ours = Authority(tmp_path)
    issue, why = WRONG[name]
    async with HostileBroker(tls=serving(issue(ours))) as broker:
        spec = broker.spec(Security(protocol=Protocol.SSL, ca_file=ours.ca_file))
        cluster = Cluster(replace(spec, bootstrap=(("localhost", broker.port),)))
        with pytest.raises(AuthenticationFailed) as caught:
            await cluster.refresh([TOPIC])
        cluster.close()

    assert why in failure(caught.value)
    assert not broker.asked


async def test_a_certificate_with_many_names_is_good_for_each(tmp_path: Path) -> None:
    """As one for all brokers of a large cluster is."""
    ours = Authority(tmp_path)
    async with HostileBroker(tls=serving(ours.issue("a", hosts=names(1_500)))) as broker:
        spec = broker.spec(Security(protocol=Protocol.SSL, ca_file=ours.ca_file))
        cluster = Cluster(replace(spec, bootstrap=(("localhost", broker.port),)))
        await cluster.refresh([TOPIC])
        cluster.close()

    assert TOPIC in cluster.topics


async def test_certificates_and_authorities_are_exchanged_while_we_run(tmp_path: Path) -> None:
    """A connection that stands is left alone; the next one reads the files as they are, and says what is wrong."""
    ours, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    ca_file = tmp_path / "trusted.pem"
    ca_file.write_bytes(ours.ca_file.read_bytes())
    context = serving(ours.issue("a"))
    async with HostileBroker(tls=context) as broker:
        cluster = Cluster(broker.spec(Security(protocol=Protocol.SSL, ca_file=ca_file)))
        await cluster.refresh([TOPIC])
        standing = await cluster.connection(1, Purpose.FETCH)
        pair = stranger.issue("b")
        context.load_cert_chain(pair.cert_file, pair.key_file)
        with pytest.raises(AuthenticationFailed) as caught:
            await cluster.connection(1, Purpose.PRODUCE)
        assert "unable to get local issuer certificate" in failure(caught.value)
        for raw, why in ((b"no certificate", "NO_CERTIFICATE_OR_CRL_FOUND"), (None, "No such file or directory")):
            ca_file.unlink() if raw is None else ca_file.write_bytes(raw)
            with pytest.raises(AuthenticationFailed) as caught:
                await cluster.connection(1, Purpose.PRODUCE)
            assert why in failure(caught.value)
            assert "ca_file" in caught.value.next_step
        ca_file.write_bytes(stranger.ca_file.read_bytes())
        await cluster.connection(1, Purpose.PRODUCE)
        assert standing.closed is None
        await cluster.refresh([TOPIC])
        cluster.close()
