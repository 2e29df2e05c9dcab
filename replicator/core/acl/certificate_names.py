"""The names in a certificate, read from its own bytes (DER, X.509).

Libraries pass names on as C strings: gRPC ends one at a NUL byte, so `boss@ops.example<NUL>.evil.example`, which
an authority signed for evil.example, becomes boss@ops.example (CVE-2009-2408 was the same in browsers). They also
differ in which of several common names they report. And a malformed name, such as an e-mail address with two
`@` or a host name with one, would match globs that were written for well-formed names: it is ignored.

Pure: bytes in, names out.
"""

from __future__ import annotations

import binascii
import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from replicator.model.access_rules import Identity, IdentityKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEQUENCE, _OID = 0x30, 0x06
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_COMMON_NAME: Final = bytes.fromhex("550403")
_SAN: Final = bytes.fromhex("551d11")
_SUBJECT_AT = 4
"""Index in the signed part, after the version: serial number, algorithm, issuer, validity, subject."""
_TEXTS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
"""Text encodings in a subject, by tag."""
_KINDS = {0x81: IdentityKind.EMAIL, 0x82: IdentityKind.DNS, 0x86: IdentityKind.URI, 0x87: IdentityKind.IP}
_FORMS = {
    IdentityKind.EMAIL: re.compile(r"[!-?A-~]+@[!-?A-~]+"),
    IdentityKind.DNS: re.compile(r"[A-Za-z0-9_.*-]+"),
    IdentityKind.URI: re.compile(r"[!-~]+"),
}
_LONG_LENGTH = 0x80
_LENGTH_BYTES_MAX = 4
_REMEMBERED_MAX = 256
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


class _Part(NamedTuple):
    tag: int
    content: bytes


@lru_cache(_REMEMBERED_MAX)
def names_in_pem(pem: bytes) -> tuple[Identity, ...]:
    """Return the names in the first certificate of a PEM text; see `names_in`."""
    found = _PEM.search(pem)
    try:
        return names_in(binascii.a2b_base64(found[1])) if found is not None else ()
    except binascii.Error:
        return ()


def names_in(der: bytes) -> tuple[Identity, ...]:
    """Return the well-formed names in a certificate: alternative names, then common names.

    A certificate that cannot be read has none.
    """
    try:
        signed = list(_parts(_only(_only(der, _SEQUENCE), _SEQUENCE)))
        if signed and signed[0].tag == _VERSION:
            del signed[0]
        extensions = next((part.content for part in signed if part.tag == _EXTENSIONS), None)
        alternative = [] if extensions is None else list(_alternative(extensions))
        return (*alternative, *_common(signed[_SUBJECT_AT].content))
    except (ValueError, IndexError):  # including text that is invalid in its encoding
        return ()


def _parts(content: bytes) -> Iterator[_Part]:
    """Yield the parts, one after another.

    Raises:
        ValueError: A length goes beyond the end.
    """
    at = 0
    while at < len(content):
        if at + 2 > len(content):
            raise ValueError("truncated")
        tag, length = content[at], content[at + 1]
        at += 2
        if length >= _LONG_LENGTH:
            size = length - _LONG_LENGTH
            if not 0 < size <= _LENGTH_BYTES_MAX:
                raise ValueError("not a DER length")
            length = int.from_bytes(content[at : at + size], "big")
            at += size
        if at + length > len(content):
            raise ValueError("truncated")
        yield _Part(tag, content[at : at + length])
        at += length


def _only(content: bytes, tag: int) -> bytes:
    """Return the content of the first part, which must be of this kind.

    Raises:
        ValueError: It is of another kind, or missing.
    """
    first = next(_parts(content), None)
    if first is None or first.tag != tag:
        raise ValueError("another kind of part")
    return first.content


def _alternative(extensions: bytes) -> Iterator[Identity]:
    for extension in _parts(_only(extensions, _SEQUENCE)):
        oid, *rest = _parts(extension.content)
        if oid != (_OID, _SAN):
            continue
        value = rest[-1].content
        for name in _parts(_only(value, _SEQUENCE)):
            kind = _KINDS.get(name.tag)
            if kind is not None and (identity := _sound(kind, name.content)) is not None:
                yield identity


def _sound(kind: IdentityKind, raw: bytes) -> Identity | None:
    if kind is IdentityKind.IP:
        try:
            return Identity(kind, str(ipaddress.ip_address(raw)))
        except ValueError:
            return None
    text = raw.decode("latin-1")
    return Identity(kind, text) if _FORMS[kind].fullmatch(text) else None


def _common(subject: bytes) -> Iterator[Identity]:
    for relative in _parts(subject):
        for attribute in _parts(relative.content):
            oid, value = _parts(attribute.content)
            if oid != (_OID, _COMMON_NAME) or value.tag not in _TEXTS:
                continue
            text = value.content.decode(_TEXTS[value.tag])
            if text and text.isprintable():
                yield Identity(IdentityKind.COMMON_NAME, text)
