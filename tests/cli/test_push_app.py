"""`push --app`: the arguments are checked against the app's job before anything is sent."""

from __future__ import annotations

from faktory.server import Server
from tests.cli.conftest import Project


def test_a_push_is_checked_against_the_app(project: Project, server: Server) -> None:
    assert project.run("push", "--app", "app", "nap", "0.5").returncode == 0
    assert [job.queue for job in server.queue("slow")] == ["slow"]  # the app's own
    assert project.call("push", "--app", "app", "-q", "other", "nap", "0.5").returncode == 0
    assert len(server.queue("other")) == 1
    for words, expected in (
        (("add", "1", "text"), "args[1]"),
        (("add", "1"), "takes 2 args, got 1"),
        (("ad", "1", "2"), "the app has no job 'ad'; did you mean add?"),
    ):
        done = project.call("push", "--app", "app", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert expected in done.stderr
    assert server.queues.get("default", 0) == 0
