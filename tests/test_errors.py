"""The errors: the tree as drawn, facts as attributes, texts safe to print, and a trip through pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable

import pytest

import faktory
from faktory import errors
from faktory.errors import (
    AuthenticationError,
    ChildStartFailed,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    ConsumerTerminated,
    Discard,
    EnterpriseRequired,
    FaktoryError,
    HandshakeError,
    InvalidJob,
    JobCancelled,
    JobCrashed,
    JobTimeout,
    NotUnique,
    ProtocolError,
    PushDropped,
    PushOutcomeUnknown,
    Retry,
    ServerError,
    ThreadStartFailed,
    UnknownJobType,
    VersionMismatch,
)

EXAMPLES: list[tuple[FaktoryError, str, dict[str, object]]] = [
    (FaktoryError("something"), "something", {}),
    (ConfigurationError("bad URL"), "bad URL", {}),
    (InvalidJob("bad args", "jid-12345"), "bad args", {"jid": "jid-12345"}),
    (InvalidJob("bad args"), "bad args", {"jid": None}),
    (ConnectFailed("refused", 5.0), "refused", {"retry_after": 5.0}),
    (ConnectFailed("refused"), "refused", {"retry_after": 0.0}),
    (ConnectionLost("reset", maybe_executed=False), "reset", {"maybe_executed": False}),
    (ConnectionLost("reset"), "reset", {"maybe_executed": True}),
    (PushOutcomeUnknown("lost", ["a", "b"]), "lost", {"jids": ("a", "b"), "maybe_executed": True}),
    (PushOutcomeUnknown("lost"), "lost", {"jids": ()}),
    (PushDropped("off"), "the job was dropped by an on_push function: off", {"reason": "off"}),
    (PushDropped(), "the job was dropped by an on_push function", {"reason": ""}),
    (HandshakeError("no"), "no", {}),
    (AuthenticationError("wrong password"), "wrong password", {}),
    (VersionMismatch("v 3"), "v 3", {}),
    (ProtocolError("garbage"), "garbage", {}),
    (ServerError("ERR", "unknown command X"), "ERR unknown command X", {"code": "ERR", "text": "unknown command X"}),
    (ServerError("SHUTDOWN", ""), "SHUTDOWN", {"code": "SHUTDOWN", "text": ""}),
    (NotUnique("NOTUNIQUE", "Job not unique"), "NOTUNIQUE Job not unique", {"code": "NOTUNIQUE"}),
    (EnterpriseRequired("ERR", "only in Enterprise"), "ERR only in Enterprise", {"text": "only in Enterprise"}),
    (UnknownJobType("no handler"), "no handler", {}),
    (JobTimeout("30 s"), "30 s", {}),
    (JobCrashed("signal 9"), "signal 9", {}),
    (JobCancelled("stopping"), "stopping", {}),
    (ConsumerTerminated("ended"), "ended", {}),
    (ChildStartFailed("no database"), "no database", {}),
    (ThreadStartFailed("no more"), "no more", {}),
    (Retry(in_=60), "the job wants to run again in 60", {"in_": 60}),
    (Retry(), "the job wants to run again", {"in_": None}),
    (Discard("too old"), "too old", {"reason": "too old"}),
]
IDS = [f"{type(error).__name__}-{index}" for index, (error, _, _) in enumerate(EXAMPLES)]


def classes() -> dict[str, type[BaseException]]:
    return {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


def drawn_bases() -> dict[str, set[str]]:
    """The bases of each class, read off the drawing at the top of the module."""
    bases: dict[str, set[str]] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"( {4}[│ ]*(?:[├└]── )?)([A-Z]\w+)(?: \((\w+)\))?(?: {2,}\S|$)", line)
        if found is None:
            continue
        level = (len(found[1]) - 4) // 4
        above[level] = found[2]
        bases[found[2]] = {above[level - 1]} if level else {"Exception"}
        if found[3]:
            bases[found[2]].add(found[3])
    return bases


def test_the_tree_is_the_drawn_one() -> None:
    assert drawn_bases() == {name: {base.__name__ for base in kind.__bases__} for name, kind in classes().items()}


def test_every_class_has_an_example_here_and_is_public() -> None:
    assert {type(error) for error, _, _ in EXAMPLES} == set(classes().values())
    assert set(classes()) <= set(faktory.__all__)


@pytest.mark.parametrize(("error", "text", "attributes"), EXAMPLES, ids=IDS)
def test_the_facts_are_attributes_and_the_text_is_the_message(
    error: FaktoryError, text: str, attributes: dict[str, object]
) -> None:
    assert str(error) == text
    assert {name: getattr(error, name) for name in attributes} == attributes


def through_pickle(error: FaktoryError) -> FaktoryError:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL):
        pickle.loads(pickle.dumps(error, protocol))
    copied: FaktoryError = pickle.loads(pickle.dumps(error))
    return copied


@pytest.mark.parametrize("trip", [through_pickle, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("error", [error for error, _, _ in EXAMPLES], ids=IDS)
def test_a_copy_keeps_type_text_and_attributes(
    error: FaktoryError, trip: Callable[[FaktoryError], FaktoryError]
) -> None:
    error.add_note("a note")
    try:
        copied = trip(error)
    finally:
        del error.__notes__
    assert type(copied) is type(error)
    assert (str(copied), repr(copied), copied.args) == (str(error), repr(error), error.args)
    assert copied.__dict__ == {**error.__dict__, "__notes__": ["a note"]}


@pytest.mark.parametrize(
    "error",
    [ConnectFailed("refused", 5.0), ConnectionLost("reset", maybe_executed=True), PushOutcomeUnknown("lost", ["jid"])],
)
def test_a_fact_is_not_mistaken_for_an_errno(error: ConnectionError) -> None:
    """OSError takes two arguments for errno and strerror, which would hold our message and our attribute."""
    assert (error.errno, error.strerror, error.filename) == (None, None, None)


def test_jids_may_come_from_any_iterable_and_are_kept() -> None:
    error = PushOutcomeUnknown("lost", (jid for jid in ("a", "b")))
    assert error.jids == ("a", "b")
    assert error.args == ("lost", ("a", "b"))


@pytest.mark.parametrize("kind", [ConnectFailed, ConnectionLost, PushOutcomeUnknown])
def test_network_errors_are_caught_as_connection_errors(kind: type[FaktoryError]) -> None:
    with pytest.raises(ConnectionError):
        raise kind("gone")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("unknown command \x1b[31mX", r"ERR unknown command \x1b[31mX"),
        ("a\rb\nc\x00", r"ERR a\rb\nc\x00"),
        ("\u202ereversed", r"ERR \u202ereversed"),
        ("déjà vu \U0001f600 back\\slash", "ERR déjà vu \U0001f600 back\\slash"),
    ],
)
def test_control_characters_of_a_server_reach_no_terminal_or_log(text: str, shown: str) -> None:
    """Error lines echo raw input; the text is escaped, the attribute is not."""
    error = ServerError("ERR", text)
    assert str(error) == shown
    assert error.text == text
