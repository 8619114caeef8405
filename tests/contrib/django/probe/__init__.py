"""A Django app with tasks and typed jobs for the tests."""
