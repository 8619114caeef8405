"""`faktory.protocol.dialogue`: the handshake step by step, what breaks it, how long a reply may take."""

from __future__ import annotations

import pytest

from faktory.errors import (
    AuthenticationError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    ProtocolError,
    VersionMismatch,
)
from faktory.protocol.address import Address
from faktory.protocol.dialogue import GOOD_PIECE, Arrival, Dialogue, Opening
from faktory.protocol.handshake import Identity
from faktory.protocol.wire import MAX_BULK, MAX_GREETING, MAX_LINE, NEED_DATA

ADDRESS = Address("somewhere", 7419)
IDENTITY = Identity("host", 1)
HELLO = b'HELLO {"hostname":"host","pid":1,"labels":[],"v":2}\r\n'


def dialogue(*, said: bytes = b"", password: str | None = None) -> Dialogue:
    """Return one whose server has said so much."""
    made = Dialogue(Address("somewhere", 7419, password=password), MAX_BULK)
    if said:
        made.parser.feed(said)
    return made


def opening(*, said: bytes = b"", password: str | None = None) -> Opening:
    return dialogue(said=said, password=password).opening(IDENTITY)


# -- the handshake ----------------------------------------------------------------------------------------------------


def test_a_handshake_in_the_usual_pieces() -> None:
    talk = dialogue()
    hands = talk.opening(IDENTITY)
    assert hands.next_line() == b""
    assert not hands.wants_password
    hands.take(b'+HI {"v":2}\r\n')
    assert hands.next_line() == HELLO
    assert hands.next_line() == b""
    assert not hands.wants_password
    hands.take(b"+OK\r\n")
    assert hands.next_line() is None


def test_a_handshake_byte_by_byte() -> None:
    hands = opening()
    lines: list[bytes | None] = []
    for n in range(len(said := b'+HI {"v":2}\r\n+OK\r\n')):
        hands.take(said[n : n + 1])
        if (line := hands.next_line()) != b"":
            lines.append(line)
    assert lines == [HELLO, None]


def test_an_answer_that_came_with_the_greeting_is_not_waited_for() -> None:
    hands = opening(said=b'+HI {"v":2}\r\n+OK\r\n')
    assert [hands.next_line(), hands.next_line()] == [HELLO, None]


def test_a_greeting_may_be_of_4_kib_and_later_lines_of_64() -> None:
    talk = dialogue()
    assert talk.parser.max_line == MAX_GREETING
    talk.parser.feed(b'+HI {"v":2}\r\n+OK\r\n')
    hands = talk.opening(IDENTITY)
    assert hands.next_line()
    assert talk.parser.max_line == MAX_GREETING
    assert hands.next_line() is None
    assert talk.parser.max_line == MAX_LINE


def test_a_password_is_hashed_for_who_asks_for_it() -> None:
    hands = opening(said=b'+HI {"v":2,"s":"salt","i":1735}\r\n', password="hunter2")
    line = hands.next_line()
    assert line is not None
    assert b'"pwdhash":"' in line
    assert hands.wants_password
    with pytest.raises(AuthenticationError, match="none is configured"):
        opening(said=b'+HI {"v":2,"s":"salt","i":1735}\r\n').next_line()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b'+HI {"v":3}\r\n', VersionMismatch),
        (b"+HELLO\r\n", ProtocolError),
        (b"-ERR too many connections\r\n", ConnectFailed),
        (b"-ERR shutdown in progress\r\n", ConnectionLost),
        (b'+HI {"v":2}\r\n-ERR too many connections\r\n', ConnectFailed),
        (b'+HI {"v":2}\r\n-ERR invalid password\r\n', AuthenticationError),
        (b'+HI {"v":2}\r\n-ERR no\r\n', HandshakeError),
        (b'+HI {"v":2}\r\n+KO\r\n', ProtocolError),
    ],
)
def test_a_server_that_does_not_want_us_ends_the_handshake(said: bytes, kind: type[Exception]) -> None:
    hands = opening(said=said)
    with pytest.raises(kind) as caught:
        while hands.next_line():
            pass
    assert type(caught.value) is kind


def test_what_was_awaited_is_told() -> None:
    hands = opening()
    assert str(hands.stopped("nothing came in time")).startswith("expected its greeting from tcp://somewhere:7419: ")
    with pytest.raises(ConnectFailed, match=r"expected its greeting .*: the connection was closed"):
        hands.take(b"")
    hands.take(b'+HI {"v":2}\r\n')
    assert hands.next_line() == HELLO
    with pytest.raises(ConnectFailed, match=r"expected the answer to HELLO .*: the connection was closed"):
        hands.take(b"")
    assert str(hands.not_sent("Broken pipe")) == "tcp://somewhere:7419 broke off the handshake: Broken pipe"


# -- what breaks it ---------------------------------------------------------------------------------------------------


def test_each_end_has_a_text_of_its_own_and_tells_whether_the_command_may_have_run() -> None:
    talk = dialogue()
    errors = [
        talk.closed(),
        talk.not_sent("Broken pipe", maybe_executed=False),
        talk.not_sent("Broken pipe", maybe_executed=True),
        talk.broken("Connection reset by peer"),
        talk.ended(),
        talk.unanswered(0.25),
        talk.too_slow(10.0),
    ]
    where = "tcp://somewhere:7419"
    assert [(str(error), error.maybe_executed) for error in errors] == [
        (f"the connection to {where} is closed", False),
        (f"lost the connection to {where} while sending: Broken pipe", False),
        (f"lost the connection to {where} while sending: Broken pipe", True),
        (f"lost the connection to {where}: Connection reset by peer", True),
        (f"{where} closed the connection before it replied", True),
        (f"no reply from {where} within 0.25 s", True),
        (f"no whole reply from {where} within 10 s", True),
    ]


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (b"-ERR shutdown in progress\r\n", ConnectionLost, "is shutting down"),
        (b"-ERR too many connections\r\n", ConnectFailed, "refused the connection"),
        (b"-ERR what\r\n", ProtocolError, "the server sent more than was asked for; the connection was dropped"),
        (b"+OK\r\n", ProtocolError, "more than was asked for"),
        (b"+O", ProtocolError, "more than was asked for"),
    ],
)
def test_what_comes_unasked_is_a_goodbye_or_breaks_the_rules(said: bytes, kind: type[Exception], text: str) -> None:
    """H7, N13"""
    error = dialogue(said=said).unasked()
    assert type(error) is kind
    assert text in str(error)


def test_the_parser_takes_no_more_than_it_is_told() -> None:
    talk = Dialogue(ADDRESS, 10)
    talk.parser.feed(b"$10\r\n0123456789\r\n$11\r\n")
    assert talk.parser.next_reply() == b"0123456789"
    with pytest.raises(ProtocolError):
        talk.parser.next_reply()
    assert dialogue(said=b"$11\r\n").parser.next_reply() is NEED_DATA


# -- a reply in pieces ------------------------------------------------------------------------------------------------


def never() -> bool:
    return False


def test_a_trickle_is_given_up_when_the_time_limit_is_over() -> None:
    """N15"""
    arrival = Arrival(5.0, 100.0)
    assert not arrival.is_too_slow(1, 100.0, never)
    assert not arrival.is_too_slow(1, 105.0, never)
    assert arrival.is_too_slow(1, 105.1, never)


def test_a_large_reply_may_take_long_while_each_time_limit_brings_a_good_piece() -> None:
    """N15"""
    arrival = Arrival(5.0, 100.0)
    assert not arrival.is_too_slow(GOOD_PIECE - 1, 104.0, never)
    assert not arrival.is_too_slow(1, 106.0, never)  # the limit begins anew
    assert not arrival.is_too_slow(GOOD_PIECE - 1, 111.0, never)
    assert arrival.is_too_slow(0, 111.1, never)


def test_what_has_come_is_read_before_a_reply_is_given_up() -> None:
    """N15: the process was frozen, and wakes with the rest of the reply and a limit that has passed."""
    answers = iter([True, True, False])
    arrival = Arrival(5.0, 100.0)
    assert not arrival.is_too_slow(1, 101.0, lambda: next(answers))
    assert not arrival.is_too_slow(1, 160.0, lambda: next(answers))
    assert not arrival.is_too_slow(1, 160.0, lambda: next(answers))
    assert arrival.is_too_slow(1, 160.0, lambda: next(answers))
    assert next(answers, None) is None  # and nobody was asked while there was time
