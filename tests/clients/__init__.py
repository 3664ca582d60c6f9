"""Real clients against a running proxy, each in a separate environment (`make test-clients`)."""
