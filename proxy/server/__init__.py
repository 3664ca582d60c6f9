"""The HTTP server: protocol, inbound limits, ASGI helpers, workers, shutdown, logs and large bodies."""
