from __future__ import annotations

from pathlib import Path

import pytest

from faktory import App
from faktory.core.settings import Settings, for_app, read_settings, settings_of
from faktory.errors import ConfigurationError

PROJECT = """
[tool.faktory]
url = "tcp://everyday"
queues = ["a", "b"]

[tool.faktory.env.production]
url = "tcp+tls://real"
mode = "background"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    below = tmp_path / "deep" / "er"
    below.mkdir(parents=True)
    return below


def test_the_nearest_project_is_read_and_an_environment_goes_before_it(project: Path) -> None:
    found = read_settings(str(project))
    assert found.values == {"url": "tcp://everyday", "queues": ["a", "b"]}
    assert found.text("mode") is None
    found = read_settings(str(project), "production")
    assert found.values == {"url": "tcp+tls://real", "mode": "background", "queues": ["a", "b"]}
    assert found.where["url"].endswith("pyproject.toml: [tool.faktory.env.production]")
    assert found.where["queues"].endswith("pyproject.toml: [tool.faktory]")


def test_without_a_project_nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.path.isfile", lambda _: False)
    assert read_settings(str(tmp_path), "any") == Settings()
    assert settings_of({}, "p") == settings_of({"tool": 1}, "p") == settings_of({"tool": {"x": 1}}, "p") == Settings()


@pytest.mark.parametrize(
    ("table", "env", "expected"),
    [
        ({"queus": 1}, None, "p: [tool.faktory] has an unknown key 'queus'; did you mean queues?"),
        ({"zzzzzz": 1}, None, "p: [tool.faktory] has an unknown key 'zzzzzz'"),
        ({"env": {"x": {"pol": 1}}}, None, "p: [tool.faktory.env.x] has an unknown key 'pol'; did you mean pool?"),
        ({"env": {"x": {}}}, "y", "p: there is no [tool.faktory.env.y]; there are: x"),
        ({}, "y", "p: there is no [tool.faktory.env.y]; there are: none"),
        ({"env": 1}, None, "p: [tool.faktory.env] must be a table, got 1"),
        (3, None, "p: [tool.faktory] must be a table, got 3"),
        ({"url": "tcp://:secret@h"}, None, "p: [tool.faktory]: the url has a password"),
    ],
)
def test_what_is_wrong_is_told_with_the_file(table: object, env: str | None, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_of({"tool": {"faktory": table}}, "p", env)
    assert str(caught.value).startswith(expected)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml cannot be read: "):
        read_settings(str(tmp_path))


def test_an_app_takes_url_and_mode_when_asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert for_app(environ={}) == ("tcp://everyday", None)
    assert for_app(environ={"FAKTORY_ENV": "production"}) == ("tcp+tls://real", "background")
    assert for_app("production", {"FAKTORY_URL": "tcp://x", "FAKTORY_MODE": "queue"}) == (None, None)
    for name in ("FAKTORY_URL", "FAKTORY_PROVIDER", "FAKTORY_MODE", "FAKTORY_ENV"):
        monkeypatch.delenv(name, raising=False)
    assert App.from_config("production").mode == "background"
    assert App().mode == "queue"  # reads no file
    (project / "pyproject.toml").write_text("[tool.faktory]\nmode = 3\n")
    with pytest.raises(ConfigurationError, match="mode must be a text, got 3"):
        App.from_config()
