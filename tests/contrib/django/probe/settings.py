"""Settings of the tests' project. Child processes and commands use them, too."""

import os

SECRET_KEY = "for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["faktory.contrib.django", "tests.contrib.django.probe"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("PROBE_DATABASE", ":memory:"),
        "CONN_MAX_AGE": 600,
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA synchronous=OFF"},
    }
}
TASKS = {
    "default": {
        "BACKEND": "faktory.contrib.django.FaktoryBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"retry": 4},
    },
    "at_once": {
        "BACKEND": os.environ.get("PROBE_AT_ONCE", "django.tasks.backends.immediate.ImmediateBackend"),
        "QUEUES": [],
    },
}
FAKTORY = {"APP": "tests.contrib.django.probe.jobs.app"}
