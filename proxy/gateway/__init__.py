"""What a request meets first: router, endpoints, pass-through, feedback, health and tracing."""
