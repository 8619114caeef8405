"""The worker of a Django project: its tasks, and the typed jobs of the app that FAKTORY["APP"] names."""

from __future__ import annotations

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from ... import override
from ...app import App
from ...builder import ConsumerBuilder
from ...errors import ConfigurationError
from ...protocol.address import Address
from .backend import FaktoryBackend
from .configuration import Configuration, Queues, configuration, load_app
from .databases import begin_child, close_all, close_idle, tidied
from .framework import task_backends
from .homes import home_of, work_at
from .known import discover


def set_up() -> None:
    """Set Django up, in a process that was not started by manage.py, and import the tasks of all apps."""
    try:
        if not apps.ready:
            django.setup()
    except ImproperlyConfigured as exc:
        raise ConfigurationError(f"Django cannot be set up: {exc}") from exc
    discover()
    found = configuration()
    work_at(home_of(_own_url(found), found.mode))


def set_up_child() -> None:
    """Set Django up where child processes are forked from, before their jobs are imported.

    What imports have opened until then is closed: a copy of a connection is no second one.
    """
    set_up()
    close_all()


def prepare(builder: ConsumerBuilder) -> ConsumerBuilder:
    """Have a consumer keep Django's connections healthy, and its child processes set Django up; return it.

    For a worker program of your own: `prepare(app.consumer()).workers(10).connect()`. That of `manage.py` is prepared.
    """
    builder._child_setup.append(set_up_child)
    return builder.middleware(tidied).on_child_start(begin_child).on_child_stop(close_all).on_shutdown(close_idle)


def consumer() -> ConsumerBuilder:
    """Return a builder that runs all jobs of the project, tasks and typed jobs.

    Raises `ConfigurationError` for settings that are wrong, and for a project without jobs.
    """
    set_up()
    found = configuration()
    app = None if found.app is None else load_app(found.app)
    builder = ConsumerBuilder() if app is None else app.consumer()
    of_app = builder._homes
    tasks = discover()
    backends = _backends()
    if not tasks and (app is None or not app.jobs):
        raise ConfigurationError(
            "the project has no jobs; write functions with @task into the tasks.py of an app in INSTALLED_APPS, or "
            'name your faktory.App in FAKTORY = {"APP": "shop.jobs.app"}'
        )
    if backends:
        home = home_of(_own_url(found), found.mode)
        for path, task in tasks.items():
            typed = home.declare(task)
            builder.register(path, typed.__faktory_handler__, timeout=typed.timeout)
        queues = {path: task.queue_name for path, task in tasks.items()}
        builder._homes = lambda: (*of_app(), *((queue, path) for path, queue in queues.items()))
    servers = _servers(found, app, backends)
    builder._locate = lambda url: _located(url, servers)
    builder._queues = _queues_of(found, backends, builder)
    return prepare(builder)


def server_url() -> str | None:
    """Return where the settings say that tasks go; None when the environment says it. Raises `ConfigurationError`."""
    return _own_url(configuration())


def _backends() -> list[FaktoryBackend]:
    """Return the Faktory backends of TASKS, in the order of the settings."""
    aliases: list[str] = list(task_backends)
    return [each for each in (task_backends[alias] for alias in aliases) if isinstance(each, FaktoryBackend)]


def _own_url(found: Configuration) -> str | None:
    """Return what the settings say where tasks go: the first backend, if there are several."""
    urls = [backend.options.get("url") or found.url for backend in _backends()]
    return urls[0] if urls else found.url


def _servers(found: Configuration, app: App | None, backends: list[FaktoryBackend]) -> list[tuple[str, Address]]:
    """Return who is told to push to which server; without those that follow the environment."""
    told = [(f"TASKS[{each.alias!r}]", each.options.get("url") or found.url) for each in backends]
    servers = [(who, Address.parse(url)) for who, url in told if url is not None]
    address = None if app is None else app._delivery._own_address()
    return servers if address is None else [*servers, (f"the app {found.app}", address)]


def _located(url: str | Address | None, servers: list[tuple[str, Address]]) -> Address:
    """Return where the worker connects: where the project's jobs are pushed, and only there."""
    if url is not None:
        told = url if isinstance(url, Address) else Address.parse(url)
    else:
        told = servers[0][1] if servers else Address.resolve()
    if override.active() is not None:
        return override.place(told)
    elsewhere = [(who, server) for who, server in servers if not server.is_same_server(told)]
    if elsewhere and (url is None or len(elsewhere) == len(servers)):
        who, server = elsewhere[0]
        raise ConfigurationError(
            f"{who} pushes to {server}, but the worker would connect to {told}; leave the url out of the settings, so "
            "that FAKTORY_URL says it, or give this worker one of their servers by --url"
        )
    return told


def _queues_of(found: Configuration, backends: list[FaktoryBackend], builder: ConsumerBuilder) -> Queues | None:
    """Return what to fetch from when the worker is not told: what the settings say, else every queue that is used."""
    told = [found.queues, *(backend.wanted_queues for backend in backends)]
    explicit = next((queues for queues in told if queues), None)
    if explicit is not None:
        return explicit
    names = [name for backend in backends for name in backend.allowed_queues]
    return list(dict.fromkeys([*names, *(queue for queue, _ in builder._homes())])) or None
