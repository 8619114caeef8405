"""The line protocol: replies and commands from bytes in any pieces, limits, and the writers of replies."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faktory.errors import EnterpriseRequired, NotUnique, ProtocolError, ServerError
from faktory.protocol.wire import (
    MAX_BULK,
    MAX_COMMAND,
    MAX_GREETING,
    MAX_LINE,
    NEED_DATA,
    NIL,
    OK,
    CommandParser,
    ReplyParser,
    encode_bulk,
    encode_error,
    encode_status,
    refusal,
    shown,
)
from tests.lines import next_command
from tests.share import share_of

Pieces = list[bytes]
WAYS: dict[str, Callable[[bytes], Pieces]] = {
    "whole": lambda data: [data],
    "byte by byte": lambda data: [data[index : index + 1] for index in range(len(data))],
    "with trailing bytes": lambda data: [data + b"+next"],
}
each_way = pytest.mark.parametrize("cut", WAYS.values(), ids=WAYS)
quick = settings(max_examples=share_of(80), deadline=None)


def plain(value: object) -> object:
    """An error as a value that can be compared."""
    return (type(value), value.code, value.text) if isinstance(value, ServerError) else value


def replies(pieces: Iterable[bytes], parser: ReplyParser | None = None) -> list[object]:
    parser = parser or ReplyParser()
    found: list[object] = []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next_reply()) is not NEED_DATA:
            found.append(plain(reply))
    return found


def commands(pieces: Iterable[bytes], parser: CommandParser | None = None) -> list[tuple[str, bytes]]:
    parser = parser or CommandParser()
    found: list[tuple[str, bytes]] = []
    for piece in pieces:
        parser.feed(piece)
        while (command := next_command(parser)) is not None:
            found.append(command)
    return found


def pieces_of(data: bytes, cuts: Iterable[int]) -> Pieces:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


# -- replies ----------------------------------------------------------------------------------------------------------

REPLIES: list[tuple[bytes, list[object]]] = [
    (b"+OK\r\n", ["OK"]),
    (b"+\r\n", [""]),
    (b'+HI {"v":2}\r\n', ['HI {"v":2}']),
    (b"+a\rb\r\n", ["a\rb"]),
    (b"+\xff\xfe\r\n", ["\ufffd\ufffd"]),
    (b"$-1\r\n", [None]),
    (b"$0\r\n\r\n", [b""]),
    (b"$5\r\nhello\r\n", [b"hello"]),
    (b"$005\r\nhello\r\n", [b"hello"]),
    (b"$6\r\na\r\n+b\n\r\n", [b"a\r\n+b\n"]),
    (b"$4\r\n\x00\xff\r\n\r\n", [b"\x00\xff\r\n"]),
    (b":0\r\n", [0]),
    (b":-42\r\n", [-42]),
    (b":9223372036854775807\r\n", [2**63 - 1]),
    (b":-9223372036854775808\r\n", [-(2**63)]),
    (b"-ERR unknown command X\r\n", [(ServerError, "ERR", "unknown command X")]),
    (b"-SHUTDOWN\r\n", [(ServerError, "SHUTDOWN", "")]),
    (b"-\r\n", [(ServerError, "", "")]),
    (b"-ERR \xff\x00\x1b[31m\r\n", [(ServerError, "ERR", "\ufffd\x00\x1b[31m")]),
    (b"-NOTUNIQUE Job not unique\r\n", [(NotUnique, "NOTUNIQUE", "Job not unique")]),
    (
        b"-ERR tracking subsystem is only available in Faktory Enterprise\r\n",
        [(EnterpriseRequired, "ERR", "tracking subsystem is only available in Faktory Enterprise")],
    ),
    (b"+OK\r\n$2\r\n{}\r\n$-1\r\n:1\r\n+OK\r\n", ["OK", b"{}", None, 1, "OK"]),
]


@each_way
@pytest.mark.parametrize(("data", "expected"), REPLIES, ids=[repr(data[:20]) for data, _ in REPLIES])
def test_a_reply_is_read(data: bytes, expected: list[object], cut: Callable[[bytes], Pieces]) -> None:
    """N15: the pieces make no difference."""
    parser = ReplyParser()
    assert replies(cut(data), parser) == expected
    assert parser.is_empty is (cut is not WAYS["with trailing bytes"])
    if not parser.is_empty:
        assert replies([b"\r\n"], parser) == ["next"]


MALFORMED: list[tuple[str, bytes, str]] = [
    ("H1: a lone LF", b"\n", r"expected a reply ending in CR LF, got b'\n'"),
    ("H1: no CR", b"+\n", r"expected a reply ending in CR LF, got b'+\n'"),
    ("H1: no CR after a text", b"+OK\n", r"expected a reply ending in CR LF, got b'+OK\n'"),
    ("H1: an empty line", b"\r\n", r"expected a reply ending in CR LF, got b'\r\n'"),
    ("H1: an empty line after a reply", b"+OK\r\n\r\n", r"expected a reply ending in CR LF, got b'\r\n'"),
    ("H4: a negative length", b"$-2\r\n", "expected a bulk length, got b'-2'"),
    ("H4: no length", b"$\r\n", "expected a bulk length, got b''"),
    ("H4: a length in letters", b"$abc\r\n", "expected a bulk length, got b'abc'"),
    ("H4: a length with a sign", b"$+5\r\n", "expected a bulk length, got b'+5'"),
    ("H4: a length with a space", b"$ 5\r\n", "expected a bulk length, got b' 5'"),
    ("H4: an array", b"*1\r\n$2\r\nhi\r\n", "expected a reply starting with one of + - : $, got b'*1"),
    ("H4: another protocol", b"HTTP/1.1 400 Bad Request\r\n", "got b'HTTP/1.1 400 Bad Request"),
    ("H4: no integer", b":one\r\n", "expected an integer, got b'one'"),
    ("H4: an empty integer", b":\r\n", "expected an integer, got b''"),
    ("H4: a lone minus", b":-\r\n", "expected an integer, got b'-'"),
    ("H4: two minuses", b":--5\r\n", "expected an integer, got b'--5'"),
    ("H4: an endless integer", b":" + b"9" * 21 + b"\r\n", "expected an integer, got b'999"),
    ("a bulk string without CR", b"$2\r\nhiXX", "expected CR LF after a bulk string, got b'XX'"),
    ("a bulk string with another CR", b"$2\r\nhiX\n", r"expected CR LF after a bulk string, got b'X\n'"),
    ("a bulk string without LF", b"$2\r\nhi\rX", r"expected CR LF after a bulk string, got b'\rX'"),
    ("a bulk string longer than said", b"$2\r\nhiya\r\n", "expected CR LF after a bulk string, got b'ya'"),
    ("H3: a bulk string of terabytes", b"$9999999999999\r\n", "at most 67108864 bytes, got one of 9999999999999"),
    ("H3: a length of many digits", b"$" + b"9" * 60_000 + b"\r\n", f"at most 67108864 bytes, got one of {'9' * 20}"),
    ("H3: one byte too many", b"$67108865\r\n", "at most 67108864 bytes, got one of 67108865"),
]


@each_way
@pytest.mark.parametrize(("data", "message"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_malformed_reply_is_refused(data: bytes, message: str, cut: Callable[[bytes], Pieces]) -> None:
    with pytest.raises(ProtocolError) as caught:
        replies(cut(data))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


@each_way
def test_good_replies_before_a_malformed_one_are_given_out(cut: Callable[[bytes], Pieces]) -> None:
    parser = ReplyParser()
    found: list[object] = []
    with pytest.raises(ProtocolError):
        for piece in cut(b"+OK\r\n$1\r\nx\r\n*\r\n"):
            parser.feed(piece)
            while (reply := parser.next_reply()) is not NEED_DATA:
                found.append(reply)
    assert found == ["OK", b"x"]


def test_a_lone_line_feed_is_refused_wherever_a_piece_ends() -> None:
    """H1"""
    parser = ReplyParser()
    assert replies([b"+OK\r\n"], parser) == ["OK"]
    with pytest.raises(ProtocolError, match=r"^expected a reply ending in CR LF, got b'\\n'$"):
        replies([b"\n"], parser)


def test_a_line_of_the_longest_length_is_refused_for_what_it_lacks_only() -> None:
    """H2"""
    assert replies([b"+abc\r\n"], ReplyParser(max_line=5)) == ["abc"]
    with pytest.raises(ProtocolError, match="expected a reply ending in CR LF"):
        replies([b"+abcd\n"], ReplyParser(max_line=5))
    with pytest.raises(ProtocolError, match="expected a line of at most 5 bytes, got 6"):
        replies([b"+abcde\n"], ReplyParser(max_line=5))


def test_the_limits_are_the_agreed_ones() -> None:
    """H2, H3"""
    assert (MAX_GREETING, MAX_LINE, MAX_BULK) == (4_096, 65_536, 67_108_864)


def test_a_line_of_just_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    """H2: the limit counts the line without its LF."""
    assert replies([b"+" + b"x" * (MAX_LINE - 2) + b"\r\n"]) == ["x" * (MAX_LINE - 2)]
    with pytest.raises(ProtocolError, match=r"^expected a line of at most 65536 bytes, got 65537$"):
        replies([b"+OK\r\n+" + b"x" * (MAX_LINE - 1) + b"\r\n"])


def test_an_endless_line_is_refused_as_soon_as_it_is_too_long() -> None:
    """H2"""
    parser = ReplyParser(max_line=10)
    assert replies([b"+123456789"], parser) == []
    with pytest.raises(ProtocolError, match=r"^expected a line of at most 10 bytes, got more without an end$"):
        replies([b"0"], parser)


def test_the_limits_can_be_changed_on_the_way() -> None:
    """The greeting has a lower limit than what follows."""
    parser = ReplyParser(max_line=4)
    assert replies([b"+OK\r\n"], parser) == ["OK"]
    parser.max_line, parser.max_bulk = 6, 3
    assert replies([b"+1234\r\n$3\r\nabc\r\n"], parser) == ["1234", b"abc"]
    with pytest.raises(ProtocolError, match="at most 3 bytes, got one of 4"):
        replies([b"$4\r\n"], parser)


def test_a_bulk_string_of_just_the_limit_is_read_and_one_longer_is_refused() -> None:
    """H3"""
    assert replies([b"$5\r\nhello\r\n"], ReplyParser(max_bulk=5)) == [b"hello"]
    with pytest.raises(ProtocolError, match=r"^expected a bulk string of at most 4 bytes, got one of 5$"):
        replies([b"$5\r\nhello\r\n"], ReplyParser(max_bulk=4))


def test_an_announced_length_reserves_no_memory() -> None:
    """H3: the buffer grows as bytes arrive."""
    parser = ReplyParser()
    tracemalloc.start()
    try:
        assert replies([b"$%d\r\n" % MAX_BULK, b"x" * 1000], parser) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_long_session_keeps_no_memory() -> None:
    parser = ReplyParser()
    tracemalloc.start()
    try:
        for index in range(2_000):  # an end that never falls on the end of a piece
            parser.feed(b"+OK\r\n$3\r\nabc\r\n+1" if index == 0 else b"2\r\n$3\r\nabc\r\n+1")
            while parser.next_reply() is not NEED_DATA:
                pass
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


def test_a_parser_is_empty_only_between_replies() -> None:
    """H7: a command may be sent only when nothing of another reply is left, read or announced."""
    parser = ReplyParser()
    assert parser.is_empty
    steps = {b"+O": False, b"K\r": False, b"\n": True, b"$3\r\n": False, b"abc": False, b"\r\n": True, b"$0\r\n": False}
    for piece, is_empty in steps.items():
        replies([piece], parser)
        assert parser.is_empty is is_empty, piece
    parser.feed(b"\r\n+extra\r\n")
    assert parser.next_reply() == b""
    assert not parser.is_empty


def test_missing_tells_how_much_of_a_bulk_string_is_to_come() -> None:
    parser = ReplyParser()
    assert parser.missing == 0
    for piece, missing in ((b"+OK\r\n$10", 0), (b"\r\n", 12), (b"1234", 8), (b"567890\r", 1), (b"\n$0\r\n", 2)):
        replies([piece], parser)
        assert parser.missing == missing, piece


def test_missing_is_never_negative() -> None:
    parser = ReplyParser()
    parser.feed(b"$2\r\n")
    assert parser.next_reply() is NEED_DATA
    parser.feed(b"hi\r\n+OK\r\n+OK\r\n")
    assert parser.missing == 0


def test_a_large_bulk_string_in_small_pieces_is_read() -> None:
    """D7: reading is linear in the size."""
    data = bytes(range(256)) * 4096 * 2
    wire = encode_bulk(data)
    assert replies(wire[start : start + 1400] for start in range(0, len(wire), 1400)) == [data]


@pytest.mark.parametrize("is_client", [True, False], ids=["reply", "command"])
def test_a_long_line_in_many_pieces_is_searched_once_for_its_end(is_client: bool) -> None:
    """D7: its pieces take some 10 ms; searched each time from the beginning, seconds."""
    piece, limit = b"x" * 4 * 1024, 64 * 1024 * 1024
    parser = ReplyParser(max_line=limit) if is_client else CommandParser(max_line=limit)
    following = parser.next_reply if isinstance(parser, ReplyParser) else parser.next_line
    started = time.process_time()
    for _ in range(8_000):
        parser.feed(piece)
        assert following() is NEED_DATA
    assert time.process_time() - started < 0.5


good_replies = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")).map(
            lambda text: (encode_status(text), text)
        ),
        st.binary(max_size=40).map(lambda data: (encode_bulk(data), data)),
        st.integers(-(10**18), 10**18).map(lambda number: (b":%d\r\n" % number, number)),
        st.just((NIL, None)),
        st.text("ABC d", max_size=10).map(
            lambda text: (f"-ERR {text}\r\n".encode(), (ServerError, "ERR", text)),
        ),
    ),
    max_size=6,
)
cut_points = st.lists(st.integers(0, 2**16), max_size=12)


@quick
@given(good_replies, cut_points)
def test_any_split_gives_the_same_replies(sent: list[tuple[bytes, object]], cuts: list[int]) -> None:
    """N15"""
    data = b"".join(wire for wire, _ in sent)
    parser = ReplyParser()
    assert replies(pieces_of(data, cuts), parser) == [value for _, value in sent]
    assert parser.is_empty


garbage = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"\r\n", b"\n", b"$5\r\n", b"$-1\r\n", b"+OK\r\n", b"-ERR x\r\n", b":1\r\n", b"$99\r\n", b"$"]
        ),
    ),
    max_size=10,
)


def read_until_refused(pieces: Pieces, parser: ReplyParser) -> tuple[list[object], bool]:
    found: list[object] = []
    waiting = 0  # bytes fed since the last value: what the parser may still hold
    for piece in pieces:
        parser.feed(piece)
        waiting += len(piece)
        while True:
            try:
                reply = parser.next_reply()
            except ProtocolError:
                return found, True
            if reply is NEED_DATA:
                break
            assert reply is None or isinstance(reply, (str, bytes, int, ServerError))
            found.append(plain(reply))
            waiting = 0 if parser.is_empty else len(piece)
        assert waiting <= 32 + 16 + len(piece)
    return found, False


@pytest.mark.slow
@settings(max_examples=share_of(300), deadline=None)
@given(garbage, cut_points)
@example([b"$5\r\n", b"\r\n"], [])
def test_any_garbage_gives_values_or_a_protocol_error_whatever_the_split(parts: Pieces, cuts: list[int]) -> None:
    """H1 to H4, N15: nothing else is raised, nothing beyond the limits is kept, and the pieces make no difference."""
    data = b"".join(parts)
    whole = read_until_refused([data], ReplyParser(max_line=16, max_bulk=32))
    assert read_until_refused(pieces_of(data, cuts), ReplyParser(max_line=16, max_bulk=32)) == whole
    assert read_until_refused(WAYS["byte by byte"](data), ReplyParser(max_line=16, max_bulk=32)) == whole


@pytest.mark.parametrize("start", [b"", b"+", b"-", b":", b"$", b"$20\r\n", b"\x00"])
def test_an_endless_stream_is_refused_within_the_limits(start: bytes) -> None:
    """H2, H3: whatever the stream begins with."""
    parser = ReplyParser(max_line=16, max_bulk=32)
    fed = 0

    def stream() -> Iterator[bytes]:
        nonlocal fed
        yield start
        while True:
            fed += 1
            assert fed <= 40
            yield b"7"

    with pytest.raises(ProtocolError):
        replies(stream(), parser)


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jobs must have a jobtype parameter", (ServerError, "ERR", "jobs must have a jobtype parameter")),
        ("Invalid queue name", (ServerError, "ERR", "Invalid queue name")),
        ("NOTUNIQUE Job not unique", (NotUnique, "NOTUNIQUE", "Job not unique")),
        ("THROTTLED later", (ServerError, "THROTTLED", "later")),
        ("E-1 odd", (ServerError, "ERR", "E-1 odd")),
        ("", (ServerError, "ERR", "")),
        (
            "unique jobs are only available in Faktory Enterprise",
            (EnterpriseRequired, "ERR", "unique jobs are only available in Faktory Enterprise"),
        ),
    ],
)
def test_a_refusal_of_a_bulk_push_has_a_code_or_gets_one(text: str, expected: object) -> None:
    """D9: the texts of PUSHB come without ERR, those of Enterprise with a code of their own."""
    assert plain(refusal(text)) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("OK", "'OK'"),
        (b"\xff\n", r"b'\xff\n'"),
        (None, "None"),
        (7, "7"),
        ("é", r"'\xe9'"),
        ("\x1b[31m", r"'\x1b[31m'"),
        ("x" * 200, "'" + "x" * 79),
        (ServerError("ERR", "no"), "ServerError('ERR', 'no')"),
    ],
)
def test_a_reply_is_shown_escaped_and_short(reply: Any, expected: str) -> None:
    assert shown(reply) == expected


def test_showing_a_huge_reply_costs_no_memory() -> None:
    """H3: the text of 64 MiB of hostile bytes would take four times as much."""
    data = b"\xff" * 4_000_000
    tracemalloc.start()
    try:
        assert len(shown(data)) == 80
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


# -- commands ---------------------------------------------------------------------------------------------------------

COMMANDS: list[tuple[bytes, list[tuple[str, bytes]]]] = [
    (b"INFO\r\n", [("INFO", b"")]),
    (b"INFO\n", [("INFO", b"")]),
    (b"\n", [("", b"")]),
    (b"\r\n", [("", b"")]),
    (b"FETCH a b  c\r\n", [("FETCH", b"a b  c")]),
    (b"PUSH \r\n", [("PUSH", b"")]),
    (b"PUSH {}\r\r\n", [("PUSH", b"{}\r")]),
    (b"PUSH a\rb\n", [("PUSH", b"a\rb")]),
    (b"\xff\xfe x\n", [("\ufffd\ufffd", b"x")]),
    (b'ACK {"jid":"a"}\nFETCH q\r\n', [("ACK", b'{"jid":"a"}'), ("FETCH", b"q")]),
]


@each_way
@pytest.mark.parametrize(("data", "expected"), COMMANDS, ids=[repr(data) for data, _ in COMMANDS])
def test_a_command_is_read(data: bytes, expected: list[tuple[str, bytes]], cut: Callable[[bytes], Pieces]) -> None:
    parser = CommandParser()
    assert commands(cut(data), parser) == expected
    after = [("+next", b"")] if cut is WAYS["with trailing bytes"] else [("", b"")]
    assert commands([b"\r\n"], parser) == after


def test_a_line_tells_a_missing_payload_from_an_empty_one() -> None:
    parser = CommandParser()
    parser.feed(b"PUSH\r\nPUSH \r\nPU")
    assert [parser.next_line() for _ in range(3)] == [b"PUSH", b"PUSH ", NEED_DATA]


def test_a_command_of_just_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    assert commands([b"INFO\r\n"], CommandParser(max_line=5)) == [("INFO", b"")]
    with pytest.raises(ProtocolError, match=r"^expected a command of at most 4 bytes, got 5$"):
        commands([b"END\nINFO\r\n"], CommandParser(max_line=4))


def test_an_endless_command_is_refused_as_soon_as_it_is_too_long() -> None:
    parser = CommandParser(max_line=4)
    assert commands([b"INFO"], parser) == []
    with pytest.raises(ProtocolError, match=r"^expected a command of at most 4 bytes, got more without an end$"):
        commands([b" "], parser)


def test_commands_may_be_as_large_as_a_bulk_string() -> None:
    assert CommandParser().max_line == MAX_COMMAND == MAX_BULK == 64 * 1024 * 1024


@quick
@given(st.lists(st.tuples(st.text("ABCXYZ", max_size=6), st.binary(max_size=20))), cut_points, st.booleans())
def test_any_split_gives_the_same_commands(sent: list[tuple[str, bytes]], cuts: list[int], has_cr: bool) -> None:
    """N15"""
    sent = [(verb, payload.replace(b"\n", b"").rstrip(b"\r")) for verb, payload in sent]
    end = b"\r\n" if has_cr else b"\n"
    data = b"".join(verb.encode() + b" " + payload + end for verb, payload in sent)
    assert commands(pieces_of(data, cuts)) == sent


def obey_until_refused(pieces: Pieces) -> tuple[list[tuple[str, bytes]], bool]:
    parser = CommandParser(max_line=16)
    found: list[tuple[str, bytes]] = []
    for piece in pieces:
        parser.feed(piece)
        while True:
            try:
                command = next_command(parser)
            except ProtocolError:
                return found, True
            if command is None:
                break
            assert len(command[1]) <= 16
            found.append(command)
    return found, False


@pytest.mark.slow
@settings(max_examples=share_of(200), deadline=None)
@given(garbage, cut_points)
def test_any_garbage_gives_commands_or_a_protocol_error_whatever_the_split(parts: Pieces, cuts: list[int]) -> None:
    data = b"".join(parts)
    whole = obey_until_refused([data])
    assert obey_until_refused(pieces_of(data, cuts)) == whole
    assert obey_until_refused(WAYS["byte by byte"](data)) == whole
    lines = data.split(b"\n")
    if max(map(len, lines)) > 16:
        assert whole[1]
    else:
        words = [line.removesuffix(b"\r").partition(b" ") for line in lines[:-1]]
        assert whole == ([(verb.decode("utf-8", "replace"), payload) for verb, _, payload in words], False)


# -- writing replies --------------------------------------------------------------------------------------------------


def test_replies_are_written_as_the_server_writes_them() -> None:
    assert OK == encode_status("OK") == b"+OK\r\n"
    assert NIL == b"$-1\r\n"
    assert encode_status("HI é") == b"+HI \xc3\xa9\r\n"
    assert encode_bulk(b"") == b"$0\r\n\r\n"
    assert encode_bulk("é".encode()) == b"$2\r\n\xc3\xa9\r\n"
    assert encode_error("no such thing") == b"-ERR no such thing\r\n"
    assert encode_error("Job not unique", "NOTUNIQUE") == b"-NOTUNIQUE Job not unique\r\n"


@quick
@given(st.text(st.characters(), max_size=30))
@example("a\r\n+OK\r\n")
@example("\ud800")
def test_no_text_of_an_error_breaks_the_framing(text: str) -> None:
    data = encode_error(text)
    assert data.index(b"\n") == len(data) - 1
    [(kind, code, told)] = [found for found in replies([data]) if isinstance(found, tuple)]
    assert (kind, code) == (ServerError, "ERR")
    assert told == text.replace("\r", " ").replace("\n", " ").encode("utf-8", "replace").decode()


@quick
@given(st.binary(max_size=200))
def test_a_bulk_string_comes_back_as_it_was(data: bytes) -> None:
    assert replies([encode_bulk(data)]) == [data]
