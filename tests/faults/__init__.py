"""Faults between client, proxy and upstream, against real processes (`make test-faults`)."""
