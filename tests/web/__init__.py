"""Tests of the examples for web frameworks; those whose framework is not installed are skipped, and say so."""
