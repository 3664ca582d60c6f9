"""The API against OpenAI's own document: schemathesis in front of a running proxy (``make test-api``)."""
