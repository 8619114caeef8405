"""Certificates of an authority of the tests' own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import trustme


@dataclass(frozen=True)
class Certificates:
    """An authority that the client trusts, and contexts made from it."""

    authority: trustme.CA

    def server_context(self, *names: str, authority: trustme.CA | None = None, **options: object) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = (authority or self.authority).issue_cert(*names, **options)  # type: ignore[arg-type]
        certificate.configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context
