"""Ask Faktory's Web UI for pages, to read them. Nothing is ever posted; a redirect says that something is not there."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

from ..errors import AuthenticationError, ConnectFailed, FaktoryError, ProtocolError
from ..protocol.address import Address
from .entries import Entry
from .parsing import Usage
from .webpages import PATHS, Page, Row, UnknownPage, read_job, read_queue, read_queues, read_set

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")

PORT: Final = 7420
_PATIENCE: Final = 30.0  # seconds for each read: the server itself takes so long at most
_LARGEST: Final = 64 * 1024 * 1024
_FORM: Final = "--web: expected http://[:password@]host[:port] or https://..."


class BrokenPage(FaktoryError):
    """A page breaks off: the server failed in the midst of it."""


class WebUI:
    """The jobs that the pages show. Not thread-safe. Raises `FaktoryError` for whatever is not a page that we know."""

    def __init__(self, web: str | None, address: Address, context: SSLContext | None = None) -> None:
        tls, host, port, prefix, password = _place(web, address)
        self.name: str = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}{prefix}"
        self._prefix = prefix
        self._password = password
        self._is_challenged = False
        if not tls:
            self._connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
        else:
            import ssl

            context = context or ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(host, port, timeout=_PATIENCE, context=context)

    # -- what there is ------------------------------------------------------------------------------------------------

    def paused(self) -> set[str]:
        """Return the names of the paused queues."""
        text = self._get("/queues")
        return {name for name, is_paused in self._read(text, "/queues", read_queues).items() if is_paused}

    def jobs(self, place: str, limit: int) -> tuple[int, list[Entry]]:
        """Return how many jobs a set has, and the first of them, in the order of their time."""
        entries: list[Entry] = []
        size = 0
        for page in self._pages(place):
            size = page.size
            entries += [row.entry for row in page.rows]
            if len(entries) >= limit:
                break
        return size, entries[:limit]

    def queued(self, queue: str, limit: int) -> list[Entry] | None:
        """Return the jobs of a queue, next one first; None when there is no such queue."""
        path = f"/queues/{quote(queue)}"
        first = self._queue_page(path, queue, 1)
        if first is None:
            return None
        entries: list[Entry] = []
        for number in range(first.last, 0, -1):  # the pages begin with the job that was pushed last
            page = first if number == 1 else self._queue_page(path, queue, number)
            entries += [row.entry for row in reversed(page.rows)] if page is not None else []
            if len(entries) >= limit:
                break
        return entries[:limit]

    def job(self, place: str, jid: str) -> Entry | None:
        """Return a job of a set; None when none has this jid. Looks through the pages, so it may take a while."""
        row = self._find(place, jid)
        return None if row is None else self.whole(place, row)

    def whole(self, place: str, row: Row) -> Entry:
        """Return a job from its own page; from the list alone when that page is broken, or the job has just gone."""
        path = f"{PATHS[place]}/{quote(row.key, safe=':')}"
        try:
            text = self._get(path)
        except BrokenPage:  # 1.10 cannot show a dead job that never failed: one that was killed while scheduled
            return row.entry
        return row.entry if text is None else self._read(text, path, lambda page: read_job(page, place, row.key))

    def _find(self, place: str, jid: str) -> Row | None:
        # To read a page takes longer than to get it: those after the first are read where they have the jid in them.
        is_plain = jid.replace("-", "").replace("_", "").isalnum()
        number = last = 1
        while number <= last:
            path = f"{PATHS[place]}?page={number}"
            text = self._get(path)
            if text is None or number == 1 or not is_plain or jid in text:
                page = self._read(text, path, lambda text: read_set(text, place))
                found = next((row for row in page.rows if row.entry.jid == jid), None)
                if found is not None:
                    return found
                last = page.last
            number += 1
        return None

    def _pages(self, place: str) -> Iterator[Page]:
        number = last = 1
        while number <= last:
            path = f"{PATHS[place]}?page={number}"
            page = self._read(self._get(path), path, lambda text: read_set(text, place))
            yield page
            last, number = page.last if page.rows else 0, number + 1

    def _queue_page(self, path: str, queue: str, number: int) -> Page | None:
        text = self._get(f"{path}?page={number}")
        return None if text is None else self._read(text, path, lambda page: read_queue(page, queue))

    # -- HTTP -------------------------------------------------------------------------------------------------

    def _read(self, text: str | None, path: str, read: Callable[[str], T]) -> T:
        try:
            if text is None:
                raise UnknownPage("expected a page, got a redirect")
            return read(text)
        except UnknownPage as exc:
            raise FaktoryError(
                f"{self.name}{path} is no page as Faktory 1.10 shows it there, and nothing else can be read: {exc}"
            ) from exc

    def _get(self, path: str) -> str | None:
        """Return a page; None for a redirect."""
        status, text = self._ask(path)
        if status == 401 and not self._is_challenged and self._password is not None:
            self._is_challenged = True  # it wants the password, and gets it from now on
            status, text = self._ask(path)
        if status == 401:
            wrong = "the password is wrong" if self._is_challenged else "it wants a password; give the server's, --url"
            raise AuthenticationError(f"the Web UI {self.name}: {wrong}")
        if status in (301, 302, 303, 307, 308):
            return None
        if status != 200:
            raise FaktoryError(f"the Web UI {self.name} answers {path} with {status}: {text.strip()[:200]}")
        return text

    def _ask(self, path: str) -> tuple[int, str]:
        headers = {"Accept": "text/html", "Accept-Language": "en"}
        if self._is_challenged:
            headers["Authorization"] = f"Basic {base64.b64encode(f':{self._password}'.encode()).decode()}"
        reply = self._reply(path, headers)
        try:
            data = reply.read(_LARGEST + 1)
            if len(data) <= _LARGEST and reply.length:
                raise http.client.IncompleteRead(data, reply.length)
        except (http.client.HTTPException, OSError) as exc:
            self.close()
            raise BrokenPage(f"the Web UI {self.name} broke off in the midst of {path}: {exc}") from exc
        if len(data) > _LARGEST:
            self.close()
            raise ProtocolError(f"the Web UI {self.name}: {path} is longer than {_LARGEST} bytes")
        return reply.status, data.decode("utf-8", "replace")

    def _reply(self, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        for is_last in (self._connection.sock is None, True):
            try:
                self._connection.request("GET", f"{self._prefix}{path}", headers=headers)
                return self._connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as exc:
                self.close()  # an idle connection that the server has closed: once more on a new one
                if is_last:
                    raise self._unreachable(exc) from exc
            except (http.client.HTTPException, OSError) as exc:
                self.close()
                raise self._unreachable(exc) from exc
        raise AssertionError("the last try returns or raises")

    def _unreachable(self, error: Exception) -> ConnectFailed:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ConnectFailed(
            f"cannot read the Web UI at {self.name}: {reason}; the protocol cannot list jobs, so `list` and `show` "
            "read its pages; --web URL says where it is"
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _place(web: str | None, address: Address) -> tuple[bool, str, int, str, str | None]:
    if web is None:
        return address.tls, address.host, PORT, "", address.password
    try:
        parts = urlsplit(web)
        port = parts.port
    except ValueError:
        raise Usage(f"{_FORM}, got a port that is no number") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Usage(f"{_FORM}, got something else")
    password = address.password if parts.password is None else unquote(parts.password)
    return parts.scheme == "https", parts.hostname, port or PORT, parts.path.rstrip("/"), password
