"""Tests of README and docs: every command and snippet is executed, and the site is built and opened."""
