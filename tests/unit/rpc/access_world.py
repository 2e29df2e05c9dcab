"""A server whose callers are known by their certificates, for tests."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from replicator.model.access_rules import AccessRole, AccessRule
from replicator.model.spec import TlsSpec
from replicator.model.status.events import Desired
from replicator.rpc.client.control_client import ControlClient
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.server.server import RpcServer
from tests.unit.rpc.fake_daemon import FakeDaemon

FLOW = "east-to-west"


class Files:
    """Certificates of one authority, with any names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self._authority = authority
        leaf = authority.issue_cert("127.0.0.1")
        self.server = TlsSpec(*self._write("server", leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()))
        self.server = replace(self.server, ca_file=self.ca_file)

    def _write(self, name: str, certificate: bytes, key: bytes) -> tuple[Path, Path]:
        paths = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        for path, data in zip(paths, (certificate, key), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(data)
        return paths

    def issue(self, file: str, *names: x509.GeneralName, common: str = "x") -> tuple[Path, Path]:
        """Write certificate and key of somebody with these names."""
        key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
        ca = x509.load_pem_x509_certificate(self._authority.cert_pem.bytes())
        ca_key = serialization.load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        builder = x509.CertificateBuilder(ca.subject, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._write(
            file, builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), private
        )


ANN = x509.RFC822Name("ann@ops.example")
DAEMON_1 = x509.DNSName("d1.daemons.example")
SPIFFE = x509.UniformResourceIdentifier("spiffe://other/x@ops.example")


@dataclass
class World:
    """A server and the certificates of its callers."""

    daemon: FakeDaemon
    files: Files
    server: RpcServer
    port: int

    def of(self, *names: x509.GeneralName, common: str = "x") -> Endpoint:
        """Return how somebody with these names reaches the server."""
        certificate, key = self.files.issue(f"c{len(list(self.files._directory.iterdir()))}", *names, common=common)
        return Endpoint(f"127.0.0.1:{self.port}", self.files.ca_file, certificate, key)

    def may(self, identity: str, *roles: AccessRole, flows: tuple[str, ...] = ("*",)) -> None:
        """Add a rule."""
        self.server.access.rules = (*self.server.access.rules, AccessRule(identity, roles, flows))


def pause(client: ControlClient) -> bool:
    """Give an order."""
    return client.set_desired(FLOW, Desired.PAUSED, actor="", reason="")
