"""Addresses: the forms of a URL, where the environment keeps it, and a password that is never shown."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import traceback
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faktory.errors import ConfigurationError
from faktory.protocol.address import DEFAULT_PORT, Address
from tests.share import share_of

FORM = "expected tcp://[:password@]host[:port] or tcp+tls://[:password@]host[:port], got "
quick = settings(max_examples=share_of(80), deadline=None)


def refusal_of(url: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Address.parse(url)
    return caught.value


# -- the forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://localhost:7419", Address()),
        ("tcp://faktory.example", Address("faktory.example")),
        ("tcp://host:1/", Address("host", 1)),
        ("tcp://host/", Address("host")),
        ("tcp://host:", Address("host")),
        ("  tcp://host:65535\n", Address("host", 65_535)),
        ("TCP://Host:0080", Address("Host", 80)),
        ("tcp+tls://host", Address("host", tls=True)),
        ("TCP+TLS://host:443", Address("host", 443, tls=True)),
        ("tcp://[::1]", Address("::1")),
        ("tcp://[::1]:7", Address("::1", 7)),
        ("tcp://[fe80::1%eth0]:7/", Address("fe80::1%eth0", 7)),
        ("tcp://127.0.0.1:7", Address("127.0.0.1", 7)),
        ("tcp://:secret@host", Address("host", password="secret")),
        ("tcp://user:secret@host:7", Address("host", 7, password="secret")),
        ("tcp+tls://:secret@[::1]:7", Address("::1", 7, True, "secret")),
        ("tcp://:@host", Address("host")),
        ("tcp://@host", Address("host")),
    ],
)
def test_a_url_is_read(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("p%40ss%3Aw%2Ford%25", "p@ss:w/ord%"),
        ("a+b", "a+b"),  # a plus is a plus
        ("a:b@c/d?e#f", "a:b@c/d?e#f"),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("%C3%A9", "é"),
        ("\u00e9", "é"),
        ("%20", " "),
    ],
)
def test_a_password_is_percent_decoded(written: str, password: str) -> None:
    """Other clients forget to, or turn + into a space."""
    assert Address.parse(f"tcp://:{written}@host:7").password == password


def test_a_password_of_any_bytes_comes_through() -> None:
    password = Address.parse("tcp://:%ff%FE@host").password
    assert password is not None
    assert password.encode("utf-8", "surrogateescape") == b"\xff\xfe"


def test_an_address_is_a_value() -> None:
    address = Address.parse("tcp+tls://:secret@host:7")
    assert {address, Address("host", 7, True, "secret")} == {address}
    assert pickle.loads(pickle.dumps(address)) == address
    with pytest.raises(dataclasses.FrozenInstanceError):
        address.host = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "got"),
    [
        (None, "NoneType"),
        (b"tcp://host", "bytes"),
        ("", "a text without ://"),
        ("host:7419", "a text without ://"),
        ("redis://host", "the scheme 'redis'"),
        ("tcp+ssl://host", "the scheme 'tcp+ssl'"),
        ("://host", "another scheme"),
        (":secret@tcp://host", "another scheme"),
        ("tcp:\x1b[31m//://host", "another scheme"),
        ("x" * 20 + "://host", f"the scheme '{'x' * 20}'"),
        ("x" * 21 + "://host", "another scheme"),
        ("\u00e9://host", "another scheme"),
        ("tcp\u202e://host", "another scheme"),
        ("tcp://secret@host", "a user and no password before the @; a colon goes before the password: tcp://:password@"),
        ("tcp://", "no usable host name; an IPv6 address goes in brackets"),
        ("tcp:///", "no usable host name"),
        ("tcp://:secret@", "no usable host name"),
        ("tcp://:7419", "no usable host name"),
        ("tcp://a b", "no usable host name"),
        ("tcp://a\tb", "no usable host name"),
        ("tcp://a\r\nb", "no usable host name"),
        ("tcp://a\x00b", "no usable host name"),
        ("tcp://a\u200bb", "no usable host name"),
        ("tcp://a\ud800b", "no usable host name"),
        ("tcp://host/path", "no usable host name"),
        ("tcp://host?x=1", "no usable host name"),
        ("tcp://host#x", "no usable host name"),
        ("tcp://host\\x", "no usable host name"),
        ("tcp://a]b:7", "no usable host name"),
        ("tcp://[]:7", "no usable host name"),
        ("tcp://[a[b]:7", "no usable host name"),
        ("tcp://[a\x00b]:7", "no usable host name"),
        ("tcp://::1", "no usable host name"),
        ("tcp://[::1", "an IPv6 address without its closing bracket, or with more than :port behind it"),
        ("tcp://[::1]x", "an IPv6 address without its closing bracket, or with more than :port behind it"),
        ("tcp://[::1]7", "an IPv6 address without its closing bracket, or with more than :port behind it"),
        ("tcp://host:0", "a port that is no number from 1 to 65535; a password with special characters must be perce"),
        ("tcp://host:65536", "a port that is no number from 1 to 65535"),
        ("tcp://host:123456", "a port that is no number from 1 to 65535"),
        ("tcp://host:" + "9" * 5000, "a port that is no number from 1 to 65535"),
        ("tcp://host:-1", "a port that is no number from 1 to 65535"),
        ("tcp://host:+1", "a port that is no number from 1 to 65535"),
        ("tcp://host:http", "a port that is no number from 1 to 65535"),
        ("tcp://host:\u0667", "a port that is no number from 1 to 65535"),
        ("tcp://host:1:2", "a port that is no number from 1 to 65535"),
        ("tcp://host:7//", "a port that is no number from 1 to 65535"),
        ("tcp://2001:db8::1", "a port that is no number from 1 to 65535"),
        ("tcp://[::1]:0", "a port that is no number from 1 to 65535"),
    ],
)  # fmt: skip
def test_a_malformed_url_is_refused(url: Any, got: str) -> None:
    error = refusal_of(url)
    assert str(error).startswith(FORM + got)
    assert len(str(error)) < 250


# -- the environment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        (None, {}, Address("localhost", DEFAULT_PORT)),
        (None, {"FAKTORY_URL": "tcp://a:1"}, Address("a", 1)),
        (None, {"FAKTORY_URL": "  "}, Address()),
        (None, {"FAKTORY_PROVIDER": "MY_URL", "MY_URL": " tcp://b:2 ", "FAKTORY_URL": "tcp://a:1"}, Address("b", 2)),
        (None, {"FAKTORY_PROVIDER": " ", "FAKTORY_URL": "tcp://a:1"}, Address("a", 1)),
        (None, {"FAKTORY_PROVIDER": " MY_URL ", "MY_URL": "tcp://b"}, Address("b")),
        ("tcp://c:3", {"FAKTORY_PROVIDER": "MY_URL", "MY_URL": "tcp://b", "FAKTORY_URL": "tcp://a"}, Address("c", 3)),
    ],
)  # fmt: skip
def test_the_url_given_wins_then_the_provider_then_the_variable(
    url: str | None, environ: dict[str, str], expected: Address
) -> None:
    assert Address.resolve(url, environ) == expected


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKTORY_PROVIDER", raising=False)
    monkeypatch.setenv("FAKTORY_URL", "tcp://from-the-environment:5")
    assert Address.resolve() == Address("from-the-environment", 5)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"FAKTORY_URL": "nonsense"}, f"FAKTORY_URL: {FORM}a text without ://"),
        ({"FAKTORY_PROVIDER": "MY_URL", "MY_URL": "http://x"}, f"MY_URL: {FORM}the scheme 'http'"),
        (
            {"FAKTORY_PROVIDER": "MY_URL", "FAKTORY_URL": "tcp://a"},
            "FAKTORY_PROVIDER names the variable 'MY_URL', which is not set",
        ),
        (
            {"FAKTORY_PROVIDER": "MY_URL", "MY_URL": " "},
            "FAKTORY_PROVIDER names the variable 'MY_URL', which is not set",
        ),
        (
            {"FAKTORY_PROVIDER": "tcp://:hunter2@host"},
            "FAKTORY_PROVIDER must be the name of the variable that holds the URL, got what looks like a URL; put ",
        ),
        ({"FAKTORY_PROVIDER": "host:7419"}, "FAKTORY_PROVIDER must be the name of the variable that holds the URL"),
        ({"FAKTORY_PROVIDER": "//host"}, "FAKTORY_PROVIDER must be the name of the variable that holds the URL"),
    ],
)
def test_a_broken_environment_is_refused_with_the_name_of_the_variable(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Address.resolve(None, environ)
    assert str(caught.value).startswith(message)


# -- round trips, and the password ------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/?#@\\[]:"), min_size=1)
hosts = names | st.ip_addresses().map(str)
ports = st.integers(1, 65_535)
passwords = st.text(st.characters(), min_size=1)
bytes_as_text = st.binary(min_size=1).map(lambda data: data.decode("utf-8", "surrogateescape"))


@quick
@given(hosts, ports, st.booleans())
def test_the_text_of_an_address_is_its_url(host: str, port: int, tls: bool) -> None:
    address = Address(host, port, tls)
    assert Address.parse(str(address)) == address


@quick
@given(hosts, ports, st.booleans(), bytes_as_text)
@example("host", 7, False, "a b%20:/@?#[]\\+")
def test_a_password_that_is_percent_encoded_comes_back(host: str, port: int, tls: bool, password: str) -> None:
    bare = str(Address(host, port, tls))
    scheme, _, location = bare.partition("://")
    url = f"{scheme}://:{quote(password, safe='', errors='surrogateescape')}@{location}"
    address = Address.parse(url)
    assert address == Address(host, port, tls, password)
    assert str(address) == bare
    assert "password" not in repr(address)


SECRET = "hunter2-SECRET"


def texts_of(error: BaseException) -> str:
    """All that a log with a traceback would show."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__)


@pytest.mark.parametrize(
    "url",
    [
        SECRET,
        f":{SECRET}@host",
        f":{SECRET}@tcp://host",
        f"user:{SECRET}://host",
        f"http://:{SECRET}@host",
        f"tcp:/:{SECRET}@host",
        f"tcp://:{SECRET}@host:port",
        f"tcp://:{SECRET}@ho st",
        f"tcp://:{SECRET}@[::1",
        f"tcp://host:{SECRET}",
        f"tcp://{SECRET} @",
        f"tcp://:7419:{SECRET}",
        f"tcp://host/{SECRET}",
        f"tcp://[{SECRET}",
    ],
)
def test_a_malformed_url_is_refused_without_its_password(url: str) -> None:
    assert SECRET not in texts_of(refusal_of(url))
    with pytest.raises(ConfigurationError) as caught:
        Address.resolve(None, {"FAKTORY_URL": url})
    assert SECRET not in texts_of(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        Address.resolve(None, {"FAKTORY_PROVIDER": f"tcp://{url}"})
    assert SECRET not in texts_of(caught.value)


@settings(max_examples=share_of(150), deadline=None)
@given(st.text(":/@[]%tcp+ls \t\x00h1", max_size=12), st.text(":/@[]%tcp+ls \t\x00h1", max_size=12))
@example("tcp://:", "@host")
@example(":", "@tcp://host")
def test_any_text_with_a_password_in_it_is_read_or_refused_without_it(before: str, after: str) -> None:
    try:
        address = Address.parse(f"{before}:{SECRET}@{after}")
    except ConfigurationError as exc:
        told = texts_of(exc)
    else:
        assert SECRET in (address.password or "")
        told = repr(address) + str(address)
    assert SECRET not in told


@quick
@given(st.text(st.characters()))
def test_any_text_is_an_address_or_a_configuration_error(url: str) -> None:
    for text in (url, f"tcp://{url}", f"tcp://[{url}"):
        with contextlib.suppress(ConfigurationError):
            address = Address.parse(text)
            assert 0 < address.port < 65_536
            assert address.host.isprintable()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("tcp://localhost", "tcp://127.0.0.1", True),
        ("tcp://A.example", "tcp://:pw@a.example", True),
        ("tcp://localhost", "tcp://localhost:7420", False),
        ("tcp://a.example", "tcp+tls://a.example", False),
        ("tcp://a.example", "tcp://b.example", False),
        ("tcp://localhost", "tcp://b.example", False),
    ],
)
def test_two_addresses_of_one_server_are_told(one: str, other: str, expected: bool) -> None:
    assert Address.parse(one).is_same_server(Address.parse(other)) is expected
