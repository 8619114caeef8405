"""What broken connections are called."""

from __future__ import annotations

import ssl

import pytest

from faktory.errors import ConnectFailed, ConnectionLost, ServerError
from faktory.protocol.address import Address
from faktory.protocol.diagnosis import no_handshake, no_server, no_tls, reason, unusable

PLAIN = Address("somewhere", 7419)
TLS = Address("somewhere", 7419, tls=True)


def test_a_reason_is_never_empty() -> None:
    assert reason(OSError(111, "Connection refused")) == "Connection refused"
    assert reason(OSError("just a text")) == "just a text"
    assert reason(ConnectionResetError()) == "ConnectionResetError"


@pytest.mark.parametrize(
    ("text", "kind", "maybe_executed"),
    [
        ("too many connections: 2001", ConnectFailed, None),
        ("shutdown in progress", ConnectionLost, False),
        ("redis: client is closed", ConnectionLost, True),
    ],
)
def test_some_errors_are_about_the_connection(text: str, kind: type[Exception], maybe_executed: bool | None) -> None:
    verdict = unusable(PLAIN, ServerError("ERR", text))
    assert type(verdict) is kind
    assert getattr(verdict, "maybe_executed", None) == maybe_executed


def test_other_errors_are_about_the_command() -> None:
    assert unusable(PLAIN, ServerError("ERR", "no such thing")) is None


def test_a_handshake_that_stops_has_its_likely_causes() -> None:
    assert "is this a TLS port" in str(no_handshake(PLAIN, "its greeting", "nothing came"))
    assert "TLS port" not in str(no_handshake(TLS, "its greeting", "nothing came"))


def test_equal_reasons_are_told_once() -> None:
    assert str(no_server(PLAIN, ["refused", "refused"])).count("refused") == 1
    assert "no addresses" in str(no_server(PLAIN, []))


def test_a_lack_of_descriptors_is_not_blamed_on_the_server() -> None:
    text = str(no_server(PLAIN, ["Too many open files"]))
    assert "ulimit -n" in text
    assert "running" not in text


def test_tls_that_fails_says_why() -> None:
    assert str(no_tls(TLS, ConnectionResetError(104, "reset"))).endswith("reset")
    assert "plain port" in str(no_tls(TLS, ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")))
    assert "odd" in str(no_tls(TLS, ssl.SSLError(1, "odd")))


@pytest.mark.parametrize(("code", "text"), [(10, "expired"), (62, "not for the host"), (18, "not trusted")])
def test_bad_certificates_are_told_apart(code: int, text: str) -> None:
    exc = ssl.SSLCertVerificationError(1, "no")
    exc.verify_code, exc.verify_message = code, "self-signed"
    verdict = no_tls(TLS, exc)
    assert text in str(verdict)
    assert verdict.retry_after >= 5
