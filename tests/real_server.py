"""Start and stop a real Faktory for the tests that need one.

`RealServer` runs the `faktory` found on PATH on a free loopback port, with its storage in a directory of its own that
`close` deletes. `FAKTORY_TEST_URL` names a server that is already running instead: such a one can be talked to, not
killed or restarted. `needs_real_server` is the mark for tests; it skips, with the reason, where there is neither.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

if TYPE_CHECKING:
    from types import TracebackType

BINARY: Final = shutil.which("faktory")
URL: Final = os.environ.get("FAKTORY_TEST_URL") or None
REASON: Final = "no real Faktory: `faktory` is not on PATH and FAKTORY_TEST_URL is not set"
READY_WITHIN: Final = 10.0  # seconds; usually 0.1


def needs_real_server(test: Any) -> Any:
    """Mark a test as one that talks to a real server, whoever started it."""
    return pytest.mark.real(pytest.mark.skipif(BINARY is None and URL is None, reason=REASON)(test))


def needs_own_server(test: Any) -> Any:
    """Mark a test as one that starts, stops or kills a real server of its own."""
    reason = "no real Faktory: `faktory` is not on PATH"
    return pytest.mark.real(pytest.mark.skipif(BINARY is None, reason=reason)(test))


class RealServer:
    """A Faktory process on 127.0.0.1, started when made; a context manager that ends it and deletes its data.

    With a `certificate` and `key` (PEM files) the server speaks TLS. With `web` it has its Web UI, at `web_url`.
    """

    def __init__(
        self,
        *,
        password: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        port: int | None = None,
        web: bool = False,
    ) -> None:
        if BINARY is None:
            pytest.skip(REASON)
        self.port = _free_port() if port is None else port
        self.web_port = _free_port() if web else None
        self.password = password
        self.tls = certificate is not None and key is not None
        # Redis listens on a socket in this directory, and the path of a socket is short (108 bytes).
        self.directory = Path(tempfile.mkdtemp(prefix="fk", dir="/tmp" if Path("/tmp").is_dir() else None))
        for name in ("db", "cfg"):
            (self.directory / name).mkdir()
        if certificate is not None and key is not None:
            shutil.copy(certificate, self.directory / "cfg" / "public.cert.pem")
            shutil.copy(key, self.directory / "cfg" / "private.key.pem")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where clients connect, with the password."""
        secret = f":{self.password}@" if self.password else ""
        return f"{'tcp+tls' if self.tls else 'tcp'}://{secret}127.0.0.1:{self.port}"

    @property
    def web_url(self) -> str:
        """Where the Web UI is, without the password."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.web_port}"

    @property
    def pid(self) -> int:
        """The process id; raises when the server is not running."""
        if self._process is None:
            raise RuntimeError("the real server is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False once the process has ended, by us or by itself."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All the server has printed so far."""
        path = self.directory / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start(self) -> None:
        """Start the process on the same port and data, and wait until it listens."""
        if self.is_running:
            raise RuntimeError("the real server is running already")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FAKTORY")}
        if self.password:
            environment["FAKTORY_PASSWORD"] = self.password
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    BINARY or "faktory",
                    *("-b", f"127.0.0.1:{self.port}"),
                    *("-w", ":0" if self.web_port is None else f"127.0.0.1:{self.web_port}"),
                    *("-d", str(self.directory / "db")),
                    *("-c", str(self.directory / "cfg")),
                    *("-e", "development"),
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C for pytest is not one for the server
            )
        self._wait_until_ready()

    def terminate(self) -> None:
        """Stop as an administrator does (SIGTERM): data is saved."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill Faktory alone (SIGKILL); its Redis notices and saves."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop with SIGTERM and start again on the same port and data."""
        self.terminate()
        self.start()

    def send_signal(self, number: signal.Signals) -> None:
        """Send any signal; SIGSTOP and SIGCONT make a server that hangs."""
        os.kill(self.pid, number)

    def close(self) -> None:
        """End the process, however it is, and delete its data. Safe to call twice."""
        if self._process is not None:
            if self.is_running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGCONT)
            self._end(signal.SIGTERM)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._wait_for_redis()

    def _wait_for_redis(self) -> None:
        # Redis outlives a killed Faktory by the time of a save, and a new Faktory must not meet the old Redis.
        sock = self.directory / "db" / "redis.sock"
        deadline = time.monotonic() + READY_WITHIN
        while sock.exists() and time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(sock))
                except OSError:
                    return
            time.sleep(0.01)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if not self.is_running:
                raise RuntimeError(f"the real server ended at once:\n{self.log[-2000:]}")
            try:
                for port in filter(None, (self.port, self.web_port)):
                    socket.create_connection(("127.0.0.1", port), 1.0).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError(f"the real server did not listen within {READY_WITHIN} s:\n{self.log[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RealServer port={self.port} {'running' if self.is_running else 'stopped'}>"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
