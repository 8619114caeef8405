"""The files for production: units, images and manifests are what systemd, Docker and Kubernetes can read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from faktory.cli import main

FILES = Path(__file__).parent.parent / "examples" / "production"
GRACE = 35
"""Seconds: 25 for running jobs, 2.5 to report, and some to spare."""


def yaml_of(name: str) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((FILES / name).read_text())


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments."""
    text = re.sub(r"\\\n\s*", " ", (FILES / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def options_of(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def check_call(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A call of `faktoryctl` whose options are all known to its help."""
    assert words[0].endswith("faktoryctl")
    assert main([words[1], "--help"]) == 0
    told = capsys.readouterr().out
    for option in options_of(words):
        assert option in told, f"{option} is no option of {words[1]}"


def test_the_dockerfile_is_one_and_runs_the_worker_itself(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"FROM", "WORKDIR", "RUN", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}
    found = instructions()
    assert {word for word, _ in found} <= known
    assert found[0][0] == "FROM"
    command = json.loads(dict(found)["CMD"])  # the exec form: JSON, not a shell's line
    check_call(command, capsys)
    probe = json.loads(dict(found)["HEALTHCHECK"].partition("CMD ")[2])
    check_call(probe, capsys)
    assert probe[probe.index("--file") + 1] == command[command.index("--health-file") + 1]


def test_compose_gives_running_jobs_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    services = yaml_of("compose.yaml")["services"]
    assert services["worker"]["stop_grace_period"] == f"{GRACE}s"
    check_call(services["metrics"]["command"], capsys)


def test_kubernetes_probes_what_the_worker_serves(capsys: pytest.CaptureFixture[str]) -> None:
    pod = yaml_of("kubernetes.yaml")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == GRACE
    (container,) = pod["containers"]
    check_call([*container["command"], *container["args"]], capsys)
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    port = container["args"][container["args"].index("--http") + 1].rpartition(":")[2]
    assert container["ports"] == [{"name": "health", "containerPort": int(port)}]


def test_the_unit_is_what_systemd_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (FILES / "faktory-worker.service").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert settings["Type"] == "notify"
    assert settings["TimeoutStopSec"] == str(GRACE)
    check_call(settings["ExecStart"].split(), capsys)
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    here = re.sub(r"(?m)^(ExecStart=)\S+", r"\1/bin/true", text)  # that program, user and folder are not here
    here = re.sub(r"(?m)^(User|WorkingDirectory|ReadWritePaths)=.*\n", "", here)
    unit = tmp_path / "faktory-worker.service"
    unit.write_text(here)
    done = subprocess.run(
        [tool, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=30
    )
    complaints = [line for line in done.stderr.splitlines() if "faktory-worker" in line]
    assert complaints == []


def test_the_page_names_files_that_are_there() -> None:
    """Its code is run with that of the other guides."""
    page = FILES.parent / "guides" / "production.md"
    text = page.read_text()
    for link in re.findall(r"\]\((\.\./[^)]+)\)", text):
        assert (page.parent / link).exists(), link
