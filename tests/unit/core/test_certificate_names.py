"""Names in certificates: whole, of their kind, and none of what only looks like one."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.acl.certificate_names import names_in, names_in_pem

EMAIL, DNS, URI, IP = 0x81, 0x82, 0x86, 0x87
_KEY = ec.generate_private_key(ec.SECP256R1())
_SHORT = 128


def part(tag: int, content: bytes) -> bytes:
    """Return one part of DER."""
    length = len(content)
    if length < _SHORT:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 + len(size)]) + size + content


def issue(*names: tuple[int, bytes], subject: tuple[x509.NameAttribute[str], ...] = ()) -> x509.Certificate:
    """Return a certificate with these alternative names as they are, whatever they hold."""
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer@ops.example")]),
        x509.Name(subject),
        _KEY.public_key(),
        x509.random_serial_number(),
        now,
        now + dt.timedelta(days=1),
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if names:
        value = part(0x30, b"".join(part(tag, text) for tag, text in names))
        oid = x509.ObjectIdentifier("2.5.29.17")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=True)
    return builder.sign(_KEY, hashes.SHA256())


def named(*names: tuple[int, bytes], subject: tuple[x509.NameAttribute[str], ...] = ()) -> list[str]:
    """Return the names that are found in such a certificate."""
    return [str(name) for name in names_in(issue(*names, subject=subject).public_bytes(Encoding.DER))]


def common(text: str, form: _ASN1Type = _ASN1Type.UTF8String) -> x509.NameAttribute[str]:
    """Return a common name."""
    return x509.NameAttribute(NameOID.COMMON_NAME, text, form)


def test_each_kind_is_told() -> None:
    """In the order of the certificate, common names last, all of them; the issuer is nobody's name."""
    names = (
        (DNS, b"*.daemons.example"),
        (URI, b"spiffe://example/a"),
        (EMAIL, b"ann@ops.example"),
        (IP, ipaddress.ip_address("10.0.0.1").packed),
        (IP, ipaddress.ip_address("fd00::1").packed),
        (0xA4, part(0x30, b"")),
    )
    country = x509.NameAttribute(NameOID.COUNTRY_NAME, "AT")
    assert named(*names, subject=(common("one"), country, common("zwei ü", _ASN1Type.BMPString))) == [
        "dns:*.daemons.example",
        "uri:spiffe://example/a",
        "email:ann@ops.example",
        "ip:10.0.0.1",
        "ip:fd00::1",
        "cn:one",
        "cn:zwei ü",
    ]
    assert named((DNS, b"a" * 70_000)) == ["dns:" + "a" * 70_000]
    pem = issue((EMAIL, b"ann@ops.example")).public_bytes(Encoding.PEM)
    assert [str(name) for name in names_in_pem(b"Bag Attributes\n" + pem)] == ["email:ann@ops.example"]


@pytest.mark.parametrize(
    "name",
    [
        (EMAIL, b"boss@ops.example\0.evil.example"),
        (EMAIL, b"ann@evil.example\n@ops.example"),
        (EMAIL, b"ann@evil.example@ops.example"),
        (EMAIL, b'"ann@evil.example"@ops.example'),
        (EMAIL, b"\xff@ops.example"),
        (EMAIL, "\u202ex@ops.example".encode()),
        (EMAIL, b"@ops.example"),
        (EMAIL, b"ann"),
        (EMAIL, b""),
        (DNS, b"boss@ops.example"),
        (DNS, b"a.daemons.example\0.evil.example"),
        (DNS, b"a.evil.example, DNS:x.daemons.example"),
        (DNS, b"[a].daemons.example"),
        (DNS, b""),
        (URI, b"spiffe://example/a\0"),
        (URI, b"spiffe://example/a b"),
        (IP, b"abc"),
    ],
)
def test_what_is_none_of_its_kind_is_no_name(name: tuple[int, bytes]) -> None:
    """It matched globs that were written with real names in mind, and a NUL byte hid what stands behind it."""
    assert named(name, (EMAIL, b"bob@ops.example")) == ["email:bob@ops.example"]


def test_common_names_that_cannot_be_read_are_none() -> None:
    """An empty one is what gRPC tells of a certificate without any."""
    assert named() == []
    assert named(subject=(common("a\nb"),)) == []
    assert named(subject=(common("a\x1b[2J"),)) == []


ONE = issue((EMAIL, b"ann@ops.example"), subject=(common("x"),)).public_bytes(Encoding.DER)


@given(st.data())
def test_no_bytes_break_it(data: st.DataObject) -> None:
    """A certificate that was cut or changed at any place has sound names, or none."""
    whole = bytearray(ONE)
    changes = st.tuples(st.integers(0, 10_000), st.integers(0, 255))
    for at, value in data.draw(st.lists(changes, min_size=1, max_size=4)):
        whole[at % len(whole)] = value
    cut = data.draw(st.integers(0, 10_000)) % len(whole)
    for name in (*names_in(bytes(whole)), *names_in(bytes(whole[:cut]))):
        assert name.name.isprintable()
    assert names_in_pem(bytes(whole)) == ()
    assert names_in_pem(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n") == ()
