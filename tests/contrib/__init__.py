"""Tests of what goes with other libraries; those whose library is not installed are skipped, and say so."""
