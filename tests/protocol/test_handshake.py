"""The handshake: what a server may say first, what we answer, and what must not be answered."""

from __future__ import annotations

import hashlib
import json
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faktory.errors import (
    AuthenticationError,
    ConfigurationError,
    HandshakeError,
    ProtocolError,
    ServerError,
    VersionMismatch,
)
from faktory.protocol.handshake import Greeting, Identity, accept, hello, password_hash
from faktory.protocol.wire import CommandParser
from tests.lines import next_command
from tests.share import share_of

WORKER = Identity("host.example", 42, "wid-0001", ("python", "images"))
PRODUCER = Identity("host.example", 42)
SALT = "4a1f9d3e22c7b8"
GREETING = Greeting(2, SALT, 4_000)
quick = settings(max_examples=share_of(80), deadline=None)
# Lone surrogates, but never a pair of them: JSON would read that as one character.
anything = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\ud800\udbff"), max_size=20)


def document_of(line: bytes) -> dict[str, Any]:
    # The server wants exactly `HELLO {` and one line.
    assert line.startswith(b"HELLO {")
    assert line.index(b"\n") == len(line) - 1
    parser = CommandParser()
    parser.feed(line)
    command = next_command(parser)
    assert command is not None
    assert command[0] == "HELLO"
    document: dict[str, Any] = json.loads(command[1])
    return document


# -- the greeting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('HI {"v":2}', Greeting(2, None, 1)),
        ('HI {"v": 2, "new": [1]}', Greeting(2, None, 1)),
        ('HI {"v":2,"i":5234,"s":"4a1f9d3e22c7b8"}', Greeting(2, "4a1f9d3e22c7b8", 5234)),
        ('HI {"v":2,"s":"abc"}', Greeting(2, "abc", 1)),
        ('HI {"v":2,"s":"","i":5}', Greeting(2, None, 5)),
        ('HI {"v":2,"s":null}', Greeting(2, None, 1)),
    ],
)
def test_a_greeting_is_read(reply: str, expected: Greeting) -> None:
    assert Greeting.decode(reply) == expected


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("OK", "expected the greeting HI {...}, got 'OK': is this a Faktory server?"),
        ("HI", "expected the greeting HI {...}, got 'HI': is this a Faktory server?"),
        ("\x1b[31m", r"got '\x1b[31m': is this a Faktory server?"),
        (None, "expected the greeting HI {...}, got None"),
        (b'HI {"v":2}', "expected the greeting HI {...}, got b'HI"),
        (5, "expected the greeting HI {...}, got 5"),
        (ServerError("ERR", "go away"), "expected the greeting HI {...}, got ServerError('ERR', 'go away')"),
        ("HI {", "expected a greeting with JSON, got 'HI {'"),
        ("HI " + "[" * 4_000, "expected a greeting with JSON, got 'HI [[["),
        ("HI [2]", "expected a greeting with a JSON object, got 'HI [2]'"),
        ('HI {"v":2,"s":5}', "expected a salt of text in the greeting, got int"),
        ('HI {"v":2,"s":["x"]}', "expected a salt of text in the greeting, got list"),
        ('HI {"v":2,"s":"x","i":"5000"}', "expected an integer number of iterations in the greeting, got str"),
        ('HI {"v":2,"s":"x","i":5000.0}', "expected an integer number of iterations in the greeting, got float"),
        ('HI {"v":2,"s":"x","i":true}', "expected an integer number of iterations in the greeting, got bool"),
        ('HI {"v":2,"s":"x","i":null}', "expected an integer number of iterations in the greeting, got NoneType"),
    ],
)
def test_a_greeting_that_is_none_is_refused(reply: Any, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        Greeting.decode(reply)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("1", "1"),
        ("3", "3"),
        ("2.0", "2.0"),
        ("true", "True"),
        ('"2"', "'2'"),
        ("null", "None"),
        ("NaN", "nan"),
        ("{}", "{}"),
        ("9" * 3000, "9" * 20),
    ],
)
def test_another_version_is_refused(version: str, shown: str) -> None:
    """N12"""
    with pytest.raises(VersionMismatch) as caught:
        Greeting.decode(f'HI {{"v":{version}}}')
    assert str(caught.value) == f"expected a server of protocol version 2, got {shown}"
    with pytest.raises(VersionMismatch, match="got None"):
        Greeting.decode("HI {}")


@quick
@given(st.text(st.characters(), max_size=40))
def test_any_text_is_a_greeting_or_is_refused(text: str) -> None:
    for reply in (text, f"HI {text}", f'HI {{"v":2,"s":{json.dumps(text)},"i":5000}}'):
        try:
            greeting = Greeting.decode(reply)
        except (ProtocolError, VersionMismatch):
            continue
        assert greeting.version == 2
        try:
            document_of(hello(greeting, PRODUCER, "password"))
        except HandshakeError:
            assert greeting.salt is not None


# -- HELLO ------------------------------------------------------------------------------------------------------------


def test_a_producer_says_hello_without_a_wid() -> None:
    assert hello(Greeting(2), PRODUCER, None) == (b'HELLO {"hostname":"host.example","pid":42,"labels":[],"v":2}\r\n')


def test_a_worker_says_hello_with_its_wid_and_labels() -> None:
    assert hello(Greeting(2), WORKER, None) == (
        b'HELLO {"hostname":"host.example","pid":42,"labels":["python","images"],"wid":"wid-0001","v":2}\r\n'
    )


def test_the_password_is_hashed_with_the_salt_and_is_not_in_the_line() -> None:
    line = hello(GREETING, WORKER, "hunter2")
    assert document_of(line)["pwdhash"] == password_hash("hunter2", SALT, 4_000)
    assert b"hunter2" not in line
    assert SALT.encode() not in line


def test_without_a_salt_no_hash_is_sent() -> None:
    """N11: the server asks for no password."""
    assert "pwdhash" not in document_of(hello(Greeting(2), WORKER, "hunter2"))


def test_a_password_that_is_wanted_and_not_configured_is_missed_before_hello() -> None:
    """N10"""
    with pytest.raises(AuthenticationError) as caught:
        hello(GREETING, WORKER, None)
    assert str(caught.value) == (
        "the server wants a password and none is configured; put it into the URL, for example "
        "FAKTORY_URL=tcp://:password@host:7419"
    )


@quick
@given(anything, st.lists(anything))
def test_no_name_breaks_out_of_its_line(name: str, labels: list[str]) -> None:
    """D3"""
    document = document_of(hello(Greeting(2), Identity(name, 1, "wid-0001", tuple(labels)), None))
    assert document == {"hostname": name, "pid": 1, "labels": labels, "wid": "wid-0001", "v": 2}


@pytest.mark.parametrize("wid", ["wid-0001\r\nFLUSH", "\x00", "\u2028", "\ud800"])
def test_a_wid_of_other_characters_is_refused(wid: str) -> None:
    """D3: the server echoes it raw in an error line, which would break the framing of its replies."""
    with pytest.raises(ConfigurationError) as caught:
        Identity("host", 1, wid)
    assert str(caught.value) == f"wid must be a printable text, got {wid!a}"


def test_an_identity_is_a_value() -> None:
    assert len({WORKER, Identity("host.example", 42, "wid-0001", ("python", "images"))}) == 1


# -- the hash ---------------------------------------------------------------------------------------------------------


def test_the_hash_is_the_servers() -> None:
    """The first round over the text, further ones over the raw digest; hex once at the end."""
    digest = hashlib.sha256(b"hunter2" + SALT.encode()).digest()
    for _ in range(4_094):
        digest = hashlib.sha256(digest).digest()
    assert password_hash("hunter2", SALT, 4_095) == digest.hex()


def test_the_hash_is_that_of_other_clients() -> None:
    """The example of the specification has 1545 iterations."""
    assert password_hash("foobar", "55104dc76695721d", 1545) == (
        "6d877f8e5544b1f2598768f817413ab8a357afffa924dedae99eb91472d4ec30"
    )


def test_a_password_of_any_bytes_is_hashed_as_they_are() -> None:
    digest = b"\xff\xc3\xa9" + SALT.encode()
    for _ in range(1_000):
        digest = hashlib.sha256(digest).digest()
    assert password_hash("\udcffé", SALT, 1_000) == digest.hex()


@pytest.mark.parametrize("iterations", [1_000, 100_000])
def test_iterations_at_the_limits_are_accepted(iterations: int) -> None:
    assert len(password_hash("a", "b", iterations)) == 64


@pytest.mark.parametrize("iterations", [-1, 0, 1, 999, 100_001, 2_000_000_000])
def test_too_few_or_too_many_iterations_are_refused(iterations: int) -> None:
    """H5, H6: neither a hash that is cheap to guess nor work without end; nothing is sent."""
    with pytest.raises(HandshakeError) as caught:
        hello(Greeting(2, SALT, iterations), WORKER, "hunter2")
    assert str(caught.value) == (
        f"the server asks for {iterations} password iterations; from 1000 to 100000 are accepted, so as not to hand a "
        "false server a cheap hash or an endless task"
    )


def test_a_salt_without_iterations_is_refused() -> None:
    """H6"""
    with pytest.raises(HandshakeError, match="asks for 1 password iterations"):
        hello(Greeting.decode('HI {"v":2,"s":"abc"}'), WORKER, "hunter2")


def test_the_number_of_iterations_is_shown_short() -> None:
    """H5"""
    with pytest.raises(HandshakeError) as caught:
        hello(Greeting.decode('HI {"v":2,"s":"abc","i":%s}' % ("9" * 4000)), WORKER, "hunter2")
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("password", "salt"), [("hunter2\ud800", SALT), ("hunter2", "\udfff")])
def test_a_password_or_salt_that_has_no_bytes_is_refused_without_being_shown(password: str, salt: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        password_hash(password, salt, 4_000)
    error = caught.value
    assert str(error) == "expected a password and a salt of text, got a lone surrogate in one of them"
    assert error.__context__ is None  # a UnicodeEncodeError would hold both
    assert "hunter2" not in "".join(traceback.format_exception(error)[-1:])


def test_a_repr_shows_no_salt() -> None:
    assert repr(GREETING) == "Greeting(version=2, iterations=4000)"


# -- the answer -------------------------------------------------------------------------------------------------------


def test_ok_is_accepted() -> None:
    accept("OK")


@pytest.mark.parametrize("text", ["Invalid password", "invalid PASSWORD"])
def test_a_refused_password_is_an_authentication_error(text: str) -> None:
    """N9"""
    with pytest.raises(AuthenticationError) as caught:
        accept(ServerError("ERR", text))
    assert str(caught.value) == f"the server refused the password: ERR {text}"


def test_any_other_refusal_is_a_handshake_error_with_its_text_escaped() -> None:
    with pytest.raises(HandshakeError) as caught:
        accept(ServerError("ERR", "go away\x1b[31m"))
    assert type(caught.value) is HandshakeError
    assert str(caught.value) == r"the server refused HELLO: ERR go away\x1b[31m"


@pytest.mark.parametrize(("reply", "got"), [("ok", "'ok'"), (b"OK", "b'OK'"), (None, "None"), (b"x" * 200, "b'xxxx")])
def test_any_other_answer_breaks_the_protocol(reply: Any, got: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        accept(reply)
    assert str(caught.value).startswith(f"expected OK after HELLO, got {got}")
    assert len(str(caught.value)) < 120
