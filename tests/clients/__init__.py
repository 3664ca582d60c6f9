"""Real clients against a running proxy, each in an environment of its own (`make test-clients`)."""
