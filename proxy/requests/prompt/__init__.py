"""The context of a request, and what a route adds to its prompt."""
