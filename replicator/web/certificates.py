"""Certificates of the HTTP server, reloaded when their files change. Callers may present one, but need not."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from replicator.errors import ConfigError
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from replicator.model.spec import TlsSpec

_POLL_SECONDS = 10.0

log = get_logger(__name__)


class Certificates:
    """The certificate of a server, and the authority whose certificates it accepts.

    Attributes:
        context: The TLS context of its listener.

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
                "the certificates of the HTTP server cannot be used",
                why=str(error),
                next_step="fix daemon.tls in the flow file",
            ) from error

    def _load(self) -> None:
        self.context.load_cert_chain(self._spec.cert_file, self._spec.key_file, password="")

    def _fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        stats = [path.stat() for path in (self._spec.cert_file, self._spec.key_file)]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in stats)

    async def follow(self) -> None:
        """Use new certificates once they are there; a broken pair is logged once, and the old one stays in use."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                now = self._fingerprint()
                if now == self._seen:
                    continue
                self._seen = now
                self._load()
            except OSError as error:
                log.warning("new HTTP certificates cannot be used, the old ones stay in use", why=str(error))
            else:
                log.info("HTTP certificates reloaded")
