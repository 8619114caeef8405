"""Flask with Faktory: `flask --app examples.flask_app run`, and `faktoryctl worker examples/flask_app.py:jobs`.

Jobs run in another process, where there is no request. What they need of the application (its configuration, its
database) they find through `current_app`, for which `in_app_context` puts the application's context around each job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue

import faktory

log = logging.getLogger("shop")
jobs = faktory.App()


def create_app(**config: Any) -> Flask:
    """Make the web application, as servers and tests do."""
    app = Flask("shop")
    app.config.update({"SENDER": "shop@example.org"} | config)
    app.add_url_rule("/welcome", view_func=post_welcome, methods=["POST"])
    return app


def post_welcome() -> ResponseReturnValue:
    """Store a job, and answer with its jid."""
    return {"jid": welcome.enqueue(request.get_json()["email"])}, 202


@jobs.job(queue="mail", retry=5, timeout=30)
def welcome(email: str) -> str:
    """Send a mail from the address that the application is configured with."""
    log.info("%s welcomes %s", current_app.config["SENDER"], email)
    return f"{current_app.config['SENDER']} to {email}"


app = create_app()


@jobs.use
def in_app_context(_ctx: faktory.JobContext, call_next: Callable[[], Any]) -> Any:
    """Run each job within the application's context, which is left when the job has ended, also when it failed."""
    with app.app_context():
        return call_next()
