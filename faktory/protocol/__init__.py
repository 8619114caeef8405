"""Bytes to values and back: lines, replies, greeting, addresses. Pure."""
