"""The same random commands to our server and to the real one: every reply must be the same.

`FAKTORY_TEST_EXAMPLES` sets how many runs of 50 commands are made (8 by default, 20 under tox). Without a real server
ours is driven alone, which still finds crashes and wrong sums.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from faktory.server import Server
from tests.real_server import URL, RealServer, needs_own_server, needs_real_server
from tests.server import strategies as wild
from tests.server.masking import masked
from tests.server.raw_client import RawClient
from tests.share import share_of

SHRINK = "FAKTORY_TEST_SHRINK" in os.environ  # to look for the shortest difference takes minutes
EXAMPLES = int(os.environ.get("FAKTORY_TEST_EXAMPLES", share_of(20)))
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")

jids = st.sampled_from(wild.JIDS)
queues = st.sampled_from(wild.QUEUES)
targets = st.sampled_from(["retries", "scheduled", "dead"])


def as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def masked_job(reply: bytes) -> bytes:
    """A fetched job, its text compared letter by letter but for times the server sets."""
    return re.sub(rb"^\$\d+", b"$", _TIME.sub(b"<TIME>", reply))


class Machine(RuleBasedStateMachine):
    """Commands are chosen by what our server holds, so that no FETCH has to wait and no order is left to chance."""

    ours: Server
    clients: list[RawClient]
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.known: set[str] = set()

    def both(self, line: str, mask: Any = masked) -> bytes:
        type(self).steps += 1
        for client in self.clients:
            client.send(line)
        replies = [client.read() for client in self.clients]
        assert len({json.dumps(mask(reply), default=repr, sort_keys=True) for reply in replies}) == 1, (line, replies)
        return replies[0]

    @initialize()
    def begin(self) -> None:
        self.both("FLUSH")

    def teardown(self) -> None:
        for jid in wild.JIDS:
            self.both(f'ACK {{"jid":"{jid}"}}')
        self.both("QUEUE REMOVE *")
        self.both("FLUSH")

    # A jid that is stored nowhere: the servers treat duplicates differently, on purpose.
    def is_free(self, jid: str) -> bool:
        places = [self.ours.queue(name) for name in self.ours.queues]
        places += [self.ours.scheduled, self.ours.retries, self.ours.dead, self.ours.working]
        return all(jid not in place.jids for place in places)

    @rule(jid=jids, queue=queues, retry=st.sampled_from([-1, 0, 1, 2, 25]), args=wild.arrays, data=st.data())
    def push(self, jid: str, queue: str, retry: int, args: str, data: st.DataObject) -> None:
        if not self.is_free(jid):
            return
        fields = [f'"jid":"{jid}"', f'"queue":"{queue}"', f'"retry":{retry}', f'"args":{args}']
        fields.append(f'"jobtype":{as_json(data.draw(st.sampled_from(wild.JOBTYPES)))}')
        for name, choices in {
            "at": [*wild.TIMES, *wild.PAST, '""', "null"],
            "reserve_for": ["0", "5", "-5", "60", "86400"],
            "backtrace": ["0", "3", "-1"],
            "custom": [
                "{}",
                "null",
                '{"b":1.0,"a":[1e21,"<"]}',
                '{"unique_for":60}',
                '{"expires_at":"2001-01-01T00:00:00Z"}',
            ],
            "created_at": ['"yesterday"', '"2026-01-01T00:00:00Z"'],
            "enqueued_at": ['"now"'],
            "priority": ["9"],
            "failure": ["null", '{"retry_count":0,"remaining":1,"errtype":"E","backtrace":["x"],"other":1}', "{}"],
        }.items():
            if data.draw(st.integers(0, 3)) == 0:
                fields.append(f'"{name}":{data.draw(st.sampled_from(choices))}')
        shuffled = data.draw(st.permutations(fields))
        bulk = data.draw(st.booleans())
        document = "{" + ",".join(shuffled) + "}"
        self.both(f"PUSHB [{document}]" if bulk else f"PUSH {document}")

    @rule(
        command=st.sampled_from(["PUSH", "PUSHB"]),
        name=st.sampled_from(
            ["jid", "queue", "retry", "args", "at", "custom", "reserve_for", "failure", "JobType", "backtrace"]
        ),
        value=wild.anything | st.sampled_from(["86401", '"a b"', "{}", "[]", '{"retry_count":"x"}', *wild.BAD_TIMES]),
    )
    def push_something_odd(self, command: str, name: str, value: str) -> None:
        """Fields of any type and content. The jid is free, and what got in is removed again."""
        jid = "odd-00000001"
        fields = {"jid": f'"{jid}"', "queue": '"odd"', "retry": "1", "args": "[]", "JobType": '"t"', name: value}
        document = "{" + ",".join(f'"{key}":{text}' for key, text in fields.items()) + "}"
        if name == "retry" and value == "null":
            return  # the real server's default is what anybody pushed last
        self.both(f"PUSH {document}" if command == "PUSH" else f"PUSHB [{document},{document}]")
        if name == "queue":
            self.both("QUEUE REMOVE default a b")
        self.both("QUEUE REMOVE odd")
        self.both('MUTATE {"cmd":"discard","target":"scheduled","filter":{"regexp":"*odd-0000*"}}')

    @rule(
        line=st.sampled_from(["PUSH", "PUSHB", "ACK", "FAIL", "BEAT", "MUTATE", "QUEUE", "BATCH", "TRACK"]),
        value=wild.anything,
    )
    def say_nonsense(self, line: str, value: str) -> None:
        if line == "PUSHB" and value.startswith("[") and "{" in value:
            return  # keys of one object may match in any case; the order of fields then counts
        self.both(f"{line} {value}", mask=lambda reply: reply[:5])  # the wording is the decoder's
        self.both(line)

    @rule(first=queues, second=queues)
    def fetch(self, first: str, second: str) -> None:
        paused = self.ours.paused
        if any(name not in paused and len(self.ours.queue(name)) for name in (first, second)):
            self.both(f"FETCH {first} {second}", mask=masked_job)

    @rule(jid=jids)
    def acknowledge(self, jid: str) -> None:
        self.both(f'ACK {{"jid":"{jid}"}}')

    @rule(
        jid=jids,
        message=st.sampled_from(["", "  no  ", "é" * 600, "<&>", "x" * 2000]),
        backtrace=st.sampled_from([[], ["a", "b"], ["line"] * 60]),
    )
    def fail(self, jid: str, message: str, backtrace: list[str]) -> None:
        told = {"jid": jid, "errtype": message[:150], "message": message, "backtrace": backtrace}
        self.both(f"FAIL {json.dumps(told)}")

    @rule(place=targets, command=st.sampled_from(["kill", "discard", "clear"]), data=st.data())
    def mutate(self, place: str, command: str, data: st.DataObject) -> None:
        self.both(f"MUTATE {self.operation(command, place, data)}".replace("\\ ", ""))

    @rule(place=targets, jid=jids)
    def requeue_one(self, place: str, jid: str) -> None:
        self.both(f'MUTATE {{"cmd":"requeue","target":"{place}","filter":{{"jids":["{jid}"]}}}}')

    @rule(place=targets, data=st.data())
    def requeue_what_matches(self, place: str, data: st.DataObject) -> None:
        if len(getattr(self.ours, place)) <= 1:  # more come in no particular order
            self.both(f"MUTATE {self.operation('requeue', place, data)}")

    @staticmethod
    def operation(command: str, target: str, data: st.DataObject) -> str:
        told: dict[str, Any] = {"cmd": command, "target": target}
        jobtype = data.draw(st.sampled_from(wild.JOBTYPES))
        chosen: list[Any] = [None, {}, {"jobtype": jobtype}, {"jids": [data.draw(jids), "other-jid"]}]
        patterns = [
            "*",
            "*job-0000000[0-2]*",
            "*job-0000000[^0-2]*",
            '*jobtype":"m??l"*',
            "*\\u003c*",
            "mail",
            "*[",
            "*\\*",
            "**",
        ]
        patterns += ['*"retry":[1-2],*"args":[[]*', "{*}", "*}"]
        pattern = data.draw(st.sampled_from(patterns))
        chosen += [{"regexp": pattern}, {"regexp": pattern, "jobtype": jobtype}]
        chosen += [{"regexp": pattern, "jids": [data.draw(jids)]}]
        told["filter"] = data.draw(st.sampled_from(chosen))
        return json.dumps(told, separators=(",", ":")).replace(" ", "\\u0020")

    @rule(
        word=st.sampled_from(["PAUSE", "resume", "REMOVE"]), name=queues | st.sampled_from(["*", "never-seen", "a b"])
    )
    def change_queue(self, word: str, name: str) -> None:
        self.both(f"QUEUE {word} {name}")

    @rule(names=st.lists(queues | st.just("never-seen"), max_size=3))
    def ask_latency(self, names: list[str]) -> None:
        def rounded(reply: bytes) -> Any:
            value = masked(reply)
            return {name: round(seconds / 10) for name, seconds in value.items()} if isinstance(value, dict) else value

        self.both(" ".join(["QUEUE LATENCY", *names]), mask=rounded)

    @rule(state=st.sampled_from(["", "running", "odd"]), wid=st.sampled_from(["twin", "stranger"]))
    def beat(self, state: str, wid: str) -> None:
        self.both(f'BEAT {{"wid":"{wid}","current_state":"{state}","rss_kb":5}}')

    @rule(flush=st.integers(0, 9))
    def wipe(self, flush: int) -> None:
        if flush == 0:
            self.both("FLUSH")

    @invariant()
    def info_agrees(self) -> None:
        def counted(reply: bytes) -> Any:
            value = json.loads(reply.partition(b"\r\n")[2])
            tasks = {name: sorted(task) for name, task in value["faktory"].pop("tasks").items()}
            sizes = value["faktory"]
            return [sizes, tasks, sorted(value), sorted(value["server"]), value["server"]["connections"]]

        self.both("INFO", mask=counted)


def drive(server: Server, clients: list[RawClient], examples: int) -> int:
    machine = type("Machine", (Machine,), {"ours": server, "clients": clients, "steps": 0})
    config = settings(
        max_examples=examples,
        stateful_step_count=50,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=config)
    return int(machine.steps)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_random_commands_never_break_our_server() -> None:
    with Server(seed=1) as server, RawClient(server.port, "twin") as client:
        assert drive(server, [client], max(5, EXAMPLES // 4)) > 100


@needs_real_server
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_random_commands_get_the_same_replies_from_the_real_server(capsys: pytest.CaptureFixture[str]) -> None:
    with Server(seed=1) as server, RawClient(server.port, "twin") as ours:
        if URL is not None:
            with RawClient.at(URL, "twin") as theirs:
                steps = drive(server, [ours, theirs], EXAMPLES)
        else:
            with RealServer() as real, RawClient(real.port, "twin") as theirs:
                steps = drive(server, [ours, theirs], EXAMPLES)
    with capsys.disabled():
        print(f"\n{steps} commands, the same replies from both servers")


BEGINNINGS = [
    *("GET / HTTP/1.1", "hello {}", "HELLO  {}", "HELLO {", 'HELLO {"v":2.0}', 'HELLO {"v":256}', 'HELLO {"v":-1}'),
    *(
        'HELLO {"pid":"1"}',
        'HELLO {"labels":"a"}',
        'HELLO {"labels":[1]}',
        'HELLO {"wid":1}',
        'HELLO {"V":"2"}',
        "INFO",
    ),
    *(
        "HELLO {}",
        'HELLO {"v":2,"wid":null,"labels":null}',
        'HELLO {"v":2,"pwdhash":"x","other":[]}',
        'HELLO {"rss_kb":5}',
    ),
]


@needs_own_server
def test_every_beginning_has_the_same_end_on_both_servers() -> None:
    with (
        Server() as server,
        RealServer() as real,
        Server(password="p") as locked,
        RealServer(password="p") as really_locked,
    ):
        for pair in ((server, real), (locked, really_locked)):
            for beginning in BEGINNINGS:
                heard = []
                for one in pair:
                    with RawClient(one.port, None) as client:
                        client.read()
                        client.sock.sendall(f"{beginning}\nQUEUE LATENCY a\nEND\n".encode())
                        try:
                            heard.append(client.file.read())
                        except ConnectionResetError:  # it closed with our next lines unread
                            heard.append(b"")
                assert heard[0] == heard[1], beginning
