"""Programs that tests run as processes of their own, by `tests.program`."""
