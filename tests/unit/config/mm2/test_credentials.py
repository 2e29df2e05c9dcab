"""Users and passwords in a JAAS line: read as Kafka does, and never written."""

from __future__ import annotations

import pytest

from replicator.config.mm2 import convert
from replicator.config.mm2.credentials import jaas_options

HEAD = (
    "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\n"
    "A.security.protocol=SASL_SSL\nA.sasl.mechanism=PLAIN\n"
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('x.Module required username="u" password="p";', {"username": "u", "password": "p"}),
        ("x.Module required username=u password=p;", {"username": "u", "password": "p"}),
        ("x.Module required\tusername = 'u' password = 'p q';", {"username": "u", "password": "p q"}),
        (r'x.Module required password="a;b\"c=d" username="u";', {"password": 'a;b"c=d', "username": "u"}),
        ('x.Module required; y.Module required username="two";', {"username": "two"}),
        ("x.Module required;", {}),
        ("", {}),
    ],
)
def test_options_of_a_login_module(line: str, expected: dict[str, str]) -> None:
    """Quoted or not, with the signs that end an option inside of quotes."""
    assert jaas_options(line) == expected


@pytest.mark.parametrize(
    "jaas",
    [
        'x.Module required username="u" password="canary";',
        "x.Module required username=u password=canary",
        'x.Module required password="canary" username="${file:/canary:user}";',
        'canary required "canary";',
    ],
)
def test_no_secret_is_written_whatever_the_line_looks_like(jaas: str) -> None:
    """Neither into the flow file nor into a row."""
    result = convert(f"{HEAD}A.sasl.jaas.config={jaas}\n".encode(), "mm2.properties")
    assert "canary" not in result.text + repr(result.rows) + repr(result.variables)
    assert "${A_PASSWORD:?set A_PASSWORD" in result.text
