"""Certificates of a gRPC server, reloaded when their files change."""

from __future__ import annotations

import logging
import ssl
import stat
from pathlib import Path

import grpc

from replicator.errors import ConfigError
from replicator.files import PEM_BYTES_MAX, read_regular
from replicator.model.spec import TlsSpec

_log = logging.getLogger(__name__)

_Fingerprint = tuple[tuple[int, int, int], ...]


class CertificateSource:
    """Credentials that follow the files of a TlsSpec, so a rotated certificate needs no restart.

    gRPC calls `fetch` for each new connection, from a thread of its own. If the files do not match (half a rotation),
    the last good pair stays in use and that is logged once.
    """

    def __init__(self, spec: TlsSpec) -> None:
        self._spec = spec
        self._seen: _Fingerprint = ()

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials for a port; with a client CA, a client certificate is required.

        Raises:
            ConfigError: A file cannot be read, or certificate and key do not belong together.
        """
        try:
            self._seen = self._fingerprint()
            first = self._load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "the certificates of the rpc server cannot be used",
                why=str(error),
                next_step="fix daemon.tls in the flow file",
            ) from error
        return grpc.dynamic_ssl_server_credentials(
            first,
            self.fetch,  # type: ignore[arg-type]  # the stubs miss that None means unchanged
            require_client_authentication=self._spec.ca_file is not None,
        )

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new certificates, or None to keep those in use."""
        try:
            now = self._fingerprint()
            if now == self._seen:
                return None
            # Recorded before the files are read: a change in the meantime then counts as another change.
            self._seen = now
            fresh = self._load()
        except (OSError, ssl.SSLError, ConfigError) as error:
            _log.warning("new rpc certificates cannot be used, the old ones stay in use: %s", error)
            return None
        _log.info("rpc certificates were reloaded")
        return fresh

    def _files(self) -> tuple[Path, ...]:
        spec = self._spec
        return (spec.cert_file, spec.key_file, *((spec.ca_file,) if spec.ca_file else ()))

    def _fingerprint(self) -> _Fingerprint:
        stats = [path.stat() for path in self._files()]
        return tuple((entry.st_mtime_ns, entry.st_size, entry.st_ino) for entry in stats)

    def _load(self) -> grpc.ServerCertificateConfiguration:
        spec = self._spec
        if spec.key_file.stat().st_mode & stat.S_IRWXO:
            raise ConfigError(
                f"{spec.key_file} can be read by every user of this machine",
                next_step=f"chmod o= {spec.key_file}",
            )
        # gRPC would accept a pair that does not match and then fail every handshake.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(spec.cert_file, spec.key_file, password=_no_password)
        return grpc.ssl_server_certificate_configuration(
            [(read_regular(spec.key_file, PEM_BYTES_MAX), read_regular(spec.cert_file, PEM_BYTES_MAX))],
            read_regular(spec.ca_file, PEM_BYTES_MAX) if spec.ca_file else None,
        )


def _no_password() -> bytes:
    """Keep OpenSSL from prompting for a pass phrase on the terminal: an encrypted key is an error here."""
    return b""
