"""Tests of `faktory.contrib.django`."""
