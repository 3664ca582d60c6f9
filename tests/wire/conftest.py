"""Fixtures of the spellings: the application in this process, and a fake upstream."""

from tests.proxy.conftest import serving, upstream

__all__ = ["serving", "upstream"]
