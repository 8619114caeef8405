from __future__ import annotations

import json

import pytest

from faktory.server.documents import FailureDocument, JobDocument
from faktory.server.gojson import MAX_DEPTH, DocumentError, encode, parse


def test_nesting_has_a_limit_that_brackets_in_text_do_not_count_for() -> None:
    args = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    text = f'{{"jid":"12345678","jobtype":"t","args":{args}}}'
    assert JobDocument.load(text.encode()).encode()
    with pytest.raises(DocumentError, match="exceeded max depth"):
        JobDocument.load(text.replace(args, f"[{args}]").encode()).encode()
    with pytest.raises(DocumentError, match="exceeded max depth"):
        encode(parse(b"[" * (MAX_DEPTH + 2) + b"1e-7" + b"]" * (MAX_DEPTH + 2)))
    brackets = json.dumps(["[{" * MAX_DEPTH, '\\"]']).encode()
    assert JobDocument.load(b'{"jid":"12345678","jobtype":"t","args":%b}' % brackets).encode()


def test_a_job_keeps_known_fields_only_in_the_servers_order() -> None:
    sent = (
        '{"Priority":9,"ARGS":[1.0],"jid":"12345678","backtrace":3,"reserve_for":7,"at":"2001-01-01T00:00:00Z","retry":-1,'
        '"custom":{"k":"<"},"created_at":"c","enqueued_at":"e","jobtype":"t","queue":"q",'
        '"failure":{"errtype":"E","remaining":2,"backtrace":["b"],"next_at":"n","message":"m","what":1}}'
    )
    assert JobDocument.load(sent.encode()).encode().decode() == (
        '{"retry":-1,"failure":{"failed_at":"","next_at":"n","message":"m","errtype":"E","backtrace":["b"],'
        '"retry_count":0,"remaining":2},"custom":{"k":"\\u003c"},"jid":"12345678","queue":"q","jobtype":"t",'
        '"created_at":"c","enqueued_at":"e","at":"2001-01-01T00:00:00Z","args":[1],"reserve_for":7,"backtrace":3}'
    )


def test_absent_and_empty_fields_are_left_out() -> None:
    job = JobDocument.load(b'{"custom":{},"failure":null,"reserve_for":null,"args":null}')
    assert job.encode() == b'{"retry":25,"jid":"","queue":"","jobtype":"","args":null}'
    assert FailureDocument().encode() == '{"failed_at":"","retry_count":0,"remaining":0}'


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ('"retry":"5"', "cannot unmarshal string into Go struct field Job.retry of type int"),
        ('"retry":25.0', "cannot unmarshal number 25.0 into Go struct field Job.retry of type int"),
        ('"retry":9223372036854775808', "cannot unmarshal number 9223372036854775808 into"),
        ('"retry":true', "cannot unmarshal bool into"),
        ('"jid":[]', "cannot unmarshal array into Go struct field Job.jid of type string"),
        ('"args":{}', "cannot unmarshal object into Go struct field Job.args of type []interface {}"),
        ('"custom":[]', "cannot unmarshal array into Go struct field Job.custom of type map[string]interface {}"),
        (
            '"failure":{"backtrace":[1]}',
            "cannot unmarshal number into Go struct field Job.failure.backtrace of type string",
        ),
        ('"failure":{"retry_count":"x"}', "Go struct field Job.failure.retry_count of type int"),
    ],
)
def test_wrong_types_are_named_as_the_server_names_them(field: str, error: str) -> None:
    with pytest.raises(DocumentError) as caught:
        JobDocument.load(f"{{{field}}}".encode())
    assert error in str(caught.value)


def test_the_largest_integers_fit_into_integer_fields() -> None:
    assert JobDocument.load(b'{"retry":9223372036854775807,"backtrace":-9223372036854775808}').retry == 2**63 - 1
