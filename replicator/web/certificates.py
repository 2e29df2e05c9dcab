"""Certificates of the HTTP server, read again when their files change. Callers may show one; nobody has to."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from replicator.errors import ConfigError
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from replicator.model.spec import TlsSpec

_LOOK_SECONDS = 10.0

log = get_logger(__name__)


class Certificates:
    """What a server shows, and whose certificates it takes.

    Attributes:
        context: For its listener.

    Args:
        spec: The files.

    Raises:
        ConfigError: They cannot be used.
    """

    def __init__(self, spec: TlsSpec) -> None:
        self._spec = spec
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            self._seen = self._fingerprint()
            self._load()
            if spec.ca_file is not None:
                self.context.load_verify_locations(spec.ca_file)
                self.context.verify_mode = ssl.CERT_OPTIONAL
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                "the certificates of the http server cannot be used",
                why=str(error),
                next_step="correct daemon.tls in the flow file",
            ) from error

    def _load(self) -> None:
        self.context.load_cert_chain(self._spec.cert_file, self._spec.key_file, password="")

    def _fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        stats = [path.stat() for path in (self._spec.cert_file, self._spec.key_file)]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in stats)

    async def follow(self) -> None:
        """Show new certificates once they are there; a broken pair keeps the old one, and is told once."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                now = self._fingerprint()
                if now == self._seen:
                    continue
                self._seen = now
                self._load()
            except OSError as error:
                log.warning("new http certificates are not usable, the old ones stay in use", why=str(error))
            else:
                log.info("http certificates were read again")
