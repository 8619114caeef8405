"""`faktory.core.failure`: from whatever a handler raised to a FAIL, without ever raising."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

import faktory
from faktory.commands import Fail
from faktory.core.failure import (
    CUT_OFF,
    Report,
    ReportedFailure,
    account_of,
    again,
    cut_off,
    describe,
    overran,
    place_of,
    raised_by_code,
    reached_user_code,
    report_on,
    user_traceback,
)
from faktory.errors import JobCancelled, JobTimeout
from faktory.job import Job

PACKAGE = str(Path(faktory.__file__).parent)

# A caller whose frames lie in the package, as those of the worker and of middleware do.
_SHELL: dict[str, Any] = {}
exec(  # its file name is what counts
    compile(
        "def call(handler, *args):\n"
        "    try:\n"
        "        inner(handler, *args)\n"
        "    except BaseException as exc:\n"
        "        return exc\n"
        "def inner(handler, *args):\n"
        "    handler(*args)\n",
        PACKAGE + "/worker.py",
        "exec",
    ),
    _SHELL,
)


def raised(handler: Callable[..., Any], *args: Any) -> BaseException:
    """Run a handler as a worker does; return what it raised."""
    exc: BaseException = _SHELL["call"](handler, *args)
    return exc


def job(backtrace: int | None = None) -> Job:
    return Job.from_document({"jid": "job-00001", "jobtype": "x", "args": [], "backtrace": backtrace})


def document(command: Fail) -> dict[str, Any]:
    verb, _, payload = command.line.partition(b" ")
    assert verb == b"FAIL"
    assert payload.endswith(b"\r\n")
    assert payload.isascii()
    found: dict[str, Any] = json.loads(payload)
    assert found["jid"] == "job-00001"
    assert len(found["errtype"].encode()) <= 100
    assert len(found["message"].encode()) <= 1_000
    assert len(found["backtrace"]) <= 50
    assert all(len(line.encode()) <= 1_000 for line in found["backtrace"])
    assert all("\n" not in line for line in found["backtrace"])
    return found


def failed(exc: BaseException, backtrace: int | None = None) -> dict[str, Any]:
    return document(report_on(job(backtrace), exc, limit=2.0).command("job-00001"))


def no(text: str = "no") -> NoReturn:
    raise ValueError(text)


def deep(levels: int) -> NoReturn:
    # Two functions in turn: lines of the same frame again and again would be folded into one.
    if levels:
        deeper(levels - 1)
    no()


def deeper(levels: int) -> NoReturn:
    if levels:
        deep(levels - 1)
    no()


# -- the plain case -------------------------------------------------------------------------------------------------


def test_a_failure_tells_type_text_and_where() -> None:
    """W1."""
    found = failed(raised(no, "the cat is gone"))
    assert found["errtype"] == "ValueError"
    assert found["message"] == "the cat is gone"
    first, *_, last = found["backtrace"]
    assert first.startswith(f'  File "{__file__}", line ')
    assert first.endswith(", in no")
    assert last == "ValueError: the cat is gone"


def test_the_backtrace_starts_at_the_users_frame() -> None:
    """W1: what the worker did before is no news to anybody."""
    exc = raised(deep, 3)
    lines = failed(exc)["backtrace"]
    assert PACKAGE not in "\n".join(lines)
    assert [line.rpartition(", in ")[2] for line in lines if line.startswith("  File ")] == [
        "deep",
        "deeper",
        "deep",
        "deeper",
        "no",
    ]


def test_frames_of_the_package_under_the_users_are_kept() -> None:
    """A handler that uses the client may fail in it."""

    def handler() -> None:
        Job("", [])

    lines = failed(raised(handler))["backtrace"]
    assert lines[0].endswith(", in handler")
    assert any(PACKAGE + "/job.py" in line for line in lines)


def told(exc: BaseException, interrupted_by: type[BaseException] | None = None) -> str:
    return report_on(job(), exc, limit=2.5, interrupted_by=interrupted_by).message


def test_what_the_consumer_raised_is_told_in_its_words() -> None:
    assert told(JobTimeout(), JobTimeout) == "the job ran past its time limit of 2.5 s"
    assert told(JobCancelled(), JobCancelled) == "the worker had to stop before the job was done"


def test_what_the_handler_raised_itself_is_told_in_its_own_words() -> None:
    assert told(JobTimeout("mine"), JobTimeout) == "mine"
    assert told(JobTimeout(), JobCancelled) == "<JobTimeout without a text>"


def test_a_handler_that_cannot_take_the_job_is_told_apart_from_one_that_raises() -> None:
    assert "cannot be called with the job: " in told(raised(no, 1, 2, 3))

    def handler() -> None:
        no(1, 2, 3)  # type: ignore[call-arg, arg-type]

    assert "cannot be called" not in told(raised(handler))


def test_a_report_says_where_the_users_code_raised() -> None:
    assert report_on(job(), raised(no), limit=1.0).place.endswith(" in no")


def test_an_exception_that_was_never_raised_has_a_text_all_the_same() -> None:
    found = failed(ValueError("unraised"))
    assert found["message"] == "unraised"
    assert found["backtrace"] == ["ValueError: unraised"]


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("base")])
def test_what_is_no_exception_is_reported_too(exc: BaseException) -> None:
    """W2."""

    def handler() -> None:
        raise exc

    found = failed(raised(handler))
    assert found["errtype"] == type(exc).__name__
    assert found["message"] == (str(exc) or f"<{type(exc).__name__} without a text>")
    assert found["backtrace"][0].endswith(", in handler")


@pytest.mark.parametrize("text", ["", "   ", "\n\t\n"])
def test_an_exception_without_a_text_gets_one(text: str) -> None:
    """PROTOCOL 32: the server would show "unknown"."""
    assert describe(ValueError(text)) == "<ValueError without a text>"


# -- as many lines as the job asks for ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, -1, -(2**53)])
def test_a_job_that_wants_no_backtrace_gets_none(limit: int) -> None:
    assert failed(raised(deep, 20), limit)["backtrace"] == []


def test_a_single_line_says_what_happened() -> None:
    assert failed(raised(deep, 20), 1)["backtrace"] == ["ValueError: no"]


def test_two_lines_say_what_happened_and_that_more_is_missing() -> None:
    middle, last = failed(raised(deep, 20), 2)["backtrace"]
    assert middle.startswith("... ")
    assert middle.endswith(" lines left out ...")
    assert last == "ValueError: no"


@pytest.mark.parametrize("limit", [3, 4, 7, 49, 50])
def test_the_middle_is_left_out_of_a_long_backtrace(limit: int) -> None:
    exc = raised(deep, 80)
    lines = failed(exc, limit)["backtrace"]
    assert len(lines) == limit
    assert lines[0].startswith(f'  File "{__file__}"')
    assert lines[-1] == "ValueError: no"
    (middle,) = [line for line in lines if line.endswith(" lines left out ...")]
    assert lines.index(middle) == limit // 3


def test_the_number_of_lines_left_out_is_right() -> None:
    exc = raised(deep, 8)
    whole = failed(exc, 50)["backtrace"]
    assert 12 < len(whole) < 50
    short = failed(exc, 12)["backtrace"]
    assert short == [*whole[:4], f"... {len(whole) - 11} lines left out ...", *whole[-7:]]


def test_a_backtrace_that_fits_is_whole() -> None:
    exc = raised(deep, 3)
    whole = failed(exc, 50)["backtrace"]
    assert failed(exc, len(whole))["backtrace"] == whole
    assert failed(exc, len(whole) - 1)["backtrace"] != whole
    assert not any("left out" in line for line in whole)


@pytest.mark.parametrize("limit", [None, 50, 51, 2**53])
def test_no_job_gets_more_lines_than_the_server_keeps(limit: int | None) -> None:
    """W1: 50."""
    assert len(failed(raised(deep, 200), limit)["backtrace"]) == 50


@given(st.integers(-2, 60), st.integers(0, 40))
def test_there_are_never_more_lines_than_asked_for(limit: int, levels: int) -> None:
    lines = failed(raised(deep, levels), limit)["backtrace"]
    assert len(lines) <= max(0, limit)
    if limit > 0:
        assert lines[-1] == "ValueError: no"


# -- hostile exceptions ---------------------------------------------------------------------------------------------


class Text(str):
    """A text that gives trouble when it is worked with."""

    def strip(self, *_: object) -> NoReturn:
        sys.exit(5)

    def encode(self, *_: object) -> NoReturn:
        raise OSError("no encoding")

    def __getitem__(self, _: object) -> NoReturn:
        raise KeyError("no part")


class Raising(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")

    __repr__ = __str__


class Exiting(Exception):
    def __str__(self) -> str:
        sys.exit(4)

    __repr__ = __str__


class Interrupting(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class Numeric(Exception):
    def __str__(self) -> Any:
        return 7


class Recursive(Exception):
    def __str__(self) -> str:
        return f"{self}"


class Endless(Exception):
    def __str__(self) -> str:
        raise self


class WithStrangeText(Exception):
    def __str__(self) -> str:
        return Text("strange")


class WithoutTraceback(Exception):
    @property
    def __traceback__(self) -> NoReturn:  # type: ignore[override]
        sys.exit(6)


class WithoutClass(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise ZeroDivisionError


class WithoutCause(Exception):
    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override]
        raise ZeroDivisionError


class Nameless(type):
    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise ZeroDivisionError


class Numbered(type):
    @property
    def __name__(cls) -> Any:  # type: ignore[override]
        return 7


class NamelessError(Exception, metaclass=Nameless):
    pass


class NumberedError(Exception, metaclass=Numbered):
    pass


UNTELLABLE = [Raising, Exiting, Interrupting, Numeric, Recursive, Endless]


@pytest.mark.parametrize("kind", UNTELLABLE)
def test_an_exception_whose_text_cannot_be_made_is_reported_by_its_type(kind: type[Exception]) -> None:
    """W3: str() that raises, exits, calls itself or gives no text."""

    def handler() -> None:
        raise kind

    found = failed(raised(handler))
    assert found["errtype"] == kind.__name__
    assert found["message"] == f"<{kind.__name__}, whose text could not be made>"


@pytest.mark.parametrize("kind", [Raising, Exiting, Interrupting])
def test_a_text_that_cannot_be_made_leaves_the_backtrace_alone(kind: type[Exception]) -> None:
    """W3."""

    def handler() -> None:
        raise kind

    assert failed(raised(handler))["backtrace"][0].endswith(", in handler")


def test_a_text_of_a_strange_kind_becomes_a_plain_one() -> None:
    assert type(describe(WithStrangeText())) is str
    assert failed(raised(raise_, WithStrangeText()))["message"] == "strange"


def raise_(exc: BaseException) -> NoReturn:
    raise exc


@pytest.mark.parametrize("kind", [NamelessError, NumberedError], ids=["raising", "number"])
def test_an_exception_type_without_a_name_is_reported(kind: type[Exception]) -> None:
    found = failed(raised(raise_, kind("text")))
    assert found["errtype"] == "Exception"
    assert found["message"] == "text"


def test_an_exception_without_name_and_text_is_reported() -> None:
    class Nothing(Exiting, metaclass=Nameless):
        pass

    assert failed(raised(raise_, Nothing()))["message"] == "<Exception, whose text could not be made>"


@pytest.mark.parametrize("kind", [WithoutTraceback, WithoutClass, WithoutCause])
def test_an_exception_with_hostile_attributes_is_reported(kind: type[Exception]) -> None:
    found = failed(raised(raise_, kind("text")))
    assert found["errtype"] == kind.__name__
    assert found["message"] == "text"


def test_an_exception_whose_attributes_exit_has_no_backtrace() -> None:
    assert failed(WithoutCause("text"))["backtrace"] == []


def test_an_exception_that_hides_its_traceback_is_found_out() -> None:
    def handler() -> None:
        raise WithoutTraceback("text")

    found = report_on(job(), raised(handler), limit=1.0)
    assert found.place.endswith(" in handler")
    assert any(line.endswith(", in handler") for line in found.backtrace)


def test_a_text_of_ten_megabytes_is_cut() -> None:
    """W3."""
    found = failed(raised(no, "x" * 10_000_000))
    assert found["message"] == "x" * 1_000
    assert found["backtrace"][-1] == ("ValueError: " + "x" * 1_000)[:1_000]


def test_a_text_of_a_million_lines_is_cut_before_it_is_split() -> None:
    """W3."""
    lines = failed(raised(no, "x\n" * 1_000_000))["backtrace"]
    assert len(lines) == 50
    assert lines[0].endswith(", in no")
    (middle,) = [line for line in lines if line.endswith(" lines left out ...")]
    assert int(middle.split()[1]) < 10_000


@pytest.mark.parametrize("text", ["a\ud800b", "\udcff" * 2_000, "ä" * 2_000, "\x00\x1b[31m\r\n"])
def test_no_text_breaks_the_encoding(text: str) -> None:
    """W3, D3: surrogates, control characters; cut on whole characters."""
    found = failed(raised(no, text))
    expected = text.encode("utf-8", "replace")[:1_000].decode("utf-8", "ignore")
    assert found["message"] == expected


def test_a_name_of_more_than_a_hundred_bytes_is_cut_on_a_character() -> None:
    kind = type("Ä" * 80, (Exception,), {})
    assert failed(raised(raise_, kind("text")))["errtype"] == "Ä" * 50


def test_endless_recursion_is_reported() -> None:
    def handler() -> None:
        handler()

    found = failed(raised(handler))
    assert found["errtype"] == "RecursionError"
    assert found["backtrace"][0].endswith(", in handler")
    assert found["backtrace"][-1].startswith("RecursionError: ")


def test_a_chain_is_told_from_its_cause_on() -> None:
    def handler() -> None:
        try:
            no("first")
        except ValueError as exc:
            raise KeyError("second") from exc

    lines = failed(raised(handler))["backtrace"]
    assert lines.index("ValueError: first") < lines.index("KeyError: 'second'")
    assert lines[-1] == "KeyError: 'second'"
    assert PACKAGE not in "\n".join(lines)


def test_a_cause_that_is_its_own_cause_comes_to_an_end() -> None:
    def handler() -> None:
        first, second = ValueError("first"), KeyError("second")
        first.__cause__ = second
        second.__cause__ = first
        raise first

    lines = failed(raised(handler))["backtrace"]
    assert lines[-1] == "ValueError: first"
    assert lines.count("KeyError: 'second'") == 1


def test_a_chain_of_thousands_is_reported() -> None:
    exc: Exception = ValueError("0")
    for number in range(1, 3_000):
        following = ValueError(str(number))
        following.__context__ = exc
        exc = following
    found = failed(raised(raise_, exc))
    assert found["message"] == "2999"
    assert found["backtrace"][-1] == "ValueError: 2999"


def test_an_exception_group_is_told_with_its_members() -> None:
    def handler() -> None:
        raise ExceptionGroup("several", [ValueError("one"), Exiting(), KeyError("two")])

    found = failed(raised(handler))
    assert found["errtype"] == "ExceptionGroup"
    assert found["message"] == "several (3 sub-exceptions)"
    told = "\n".join(found["backtrace"])
    assert "ValueError: one" in told
    assert "KeyError: 'two'" in told


def test_an_exception_group_nested_a_thousand_deep_is_reported() -> None:
    exc: Exception = ValueError("core")
    for _ in range(1_000):
        exc = ExceptionGroup("shell", [exc])
    found = failed(raised(raise_, exc))
    assert found["errtype"] == "ExceptionGroup"
    assert found["message"] == "shell (1 sub-exception)"


def test_notes_of_an_exception_are_told() -> None:
    exc = ValueError("no")
    exc.add_note("while resizing cat.png")
    assert "while resizing cat.png" in failed(raised(raise_, exc))["backtrace"]


@pytest.mark.parametrize("notes", [7, [Raising()], "text", [b"\xff"]])
def test_strange_notes_are_survived(notes: Any) -> None:
    exc = ValueError("no")
    exc.__notes__ = notes
    assert failed(raised(raise_, exc))["message"] == "no"


@given(
    st.text(st.characters(), max_size=50),
    st.lists(st.sampled_from([*UNTELLABLE, WithoutCause, WithoutClass]), max_size=4),
    st.sampled_from([None, -1, 0, 1, 2, 3, 50, 1_000]),
)
def test_a_fail_can_be_made_of_anything(text: str, kinds: list[type[Exception]], backtrace: int | None) -> None:
    """W3."""
    exc: Exception = ValueError(text)
    for kind in kinds:
        following = kind(text)
        BaseException.__setattr__(following, "__context__", exc)
        exc = following
    found = failed(raised(raise_, exc), backtrace)
    assert found["message"]
    assert found["errtype"]


# -- the user's frames ----------------------------------------------------------------------------------------------


def names(traceback: TracebackType | None) -> list[str]:
    found = []
    while traceback is not None:
        found.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    return found


def test_leading_frames_of_the_package_are_not_the_users() -> None:
    exc = raised(deep, 1)
    assert names(exc.__traceback__) == ["call", "inner", "deep", "deeper", "no"]
    assert names(user_traceback(exc.__traceback__)) == ["deep", "deeper", "no"]
    assert reached_user_code(exc.__traceback__)


def test_a_call_with_wrong_arguments_has_not_reached_the_user() -> None:
    """W9: told apart from a TypeError inside the handler."""
    exc = raised(no, 1, 2, 3)
    assert isinstance(exc, TypeError)
    assert not reached_user_code(exc.__traceback__)
    assert names(user_traceback(exc.__traceback__)) == ["call", "inner"]


def test_a_type_error_inside_the_handler_has_reached_the_user() -> None:
    """W9."""

    def handler() -> None:
        no(1, 2, 3)  # type: ignore[arg-type,call-arg]

    assert reached_user_code(raised(handler).__traceback__)


def test_no_traceback_has_not_reached_the_user() -> None:
    assert user_traceback(None) is None
    assert not reached_user_code(None)


def test_a_directory_that_begins_like_the_package_is_the_users() -> None:
    source: dict[str, Any] = {}
    exec(compile("def handler():\n    1 / 0\n", PACKAGE + "_jobs.py", "exec"), source)
    exc = raised(source["handler"])
    assert names(user_traceback(exc.__traceback__)) == ["handler"]
    assert reached_user_code(exc.__traceback__)


def test_the_place_is_where_the_users_code_raised() -> None:
    def inner() -> None:
        raise ValueError

    with pytest.raises(ValueError) as caught:
        inner()
    assert place_of(caught.value).startswith(f" at {__file__}:")
    assert place_of(caught.value).endswith(" in inner")
    assert place_of(ValueError()) == ""
    with pytest.raises(Exception) as ours:
        Job("")
    ours.value.__traceback__ = user_traceback(ours.value.__traceback__)
    assert " in test_the_place_is_where_the_users_code_raised" in place_of(ours.value)


def test_a_raise_is_told_from_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        raise KeyboardInterrupt
    assert raised_by_code(raised.value)
    assert raised_by_code(KeyboardInterrupt())

    def handler() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as struck:
        handler()
    assert not raised_by_code(struck.value)


def test_a_report_made_elsewhere_is_carried_as_it_is() -> None:
    report = Report("OddError", "no good", ("a line",), " at a place")
    failure = ReportedFailure(report, JobTimeout("late"))
    assert (failure.report, str(failure), str(failure.error)) == (report, "no good", "late")
    assert ReportedFailure(report).error is None


def test_the_hooks_are_told_of_a_failure_unless_they_were_elsewhere() -> None:
    report, error = Report("OddError", "no good"), JobTimeout("late")
    raised_here = raised(no)
    assert account_of(job(), raised_here, limit=1.0, interrupted_by=None)[1] is raised_here
    assert account_of(job(), ReportedFailure(report, error), limit=1.0, interrupted_by=None) == (report, error)
    assert account_of(job(), ReportedFailure(report), limit=1.0, interrupted_by=None) == (report, None)


def test_a_backtrace_has_no_lines_that_underline_source() -> None:
    """They point at nothing where the pitch is not fixed, and use up the lines that the server keeps."""

    def divide(numbers: list[int]) -> float:
        return numbers[0] / (numbers[1] - numbers[1])

    def group() -> NoReturn:
        raise ExceptionGroup("one", [_caught(divide, [1, 2])])

    for exc in (_caught(divide, [1, 2]), _caught(group), _caught(compile, "a b", "x", "exec")):
        lines = report_on(job(), exc, limit=1.0).backtrace
        frames = [n for n, line in enumerate(lines) if line.lstrip(" |").startswith('File "') and ", in " in line]
        assert not [lines[n + 2] for n in frames if n + 2 < len(lines) and not lines[n + 2].strip(" |^~")]
    assert any(line.strip() and not line.strip(" ^") for line in lines)  # a syntax error's own is kept


def _caught(function: Callable[..., object], *args: object) -> Exception:
    try:
        function(*args)
    except Exception as exc:
        return exc
    raise AssertionError("nothing was raised")


def test_what_a_limit_and_a_cut_off_raise_says_what_the_server_gets() -> None:
    assert str(overran(1.5)) == "the job ran past its time limit of 1.5 s"
    assert str(cut_off()) == CUT_OFF
    first = overran(2.0)
    other = again(first)
    assert (type(other), str(other)) == (JobTimeout, str(first))
    assert other is not first


def test_a_job_that_cannot_be_looked_at_is_reported_all_the_same() -> None:
    class Harmful(Job):
        @property
        def backtrace(self) -> int | None:  # type: ignore[override]
            raise SystemExit("looked at")

    report = report_on(Harmful.__new__(Harmful), ValueError("no good"), limit=1.0)
    assert (report.errtype, report.message) == ("ValueError", "<an exception that cannot be told>")
