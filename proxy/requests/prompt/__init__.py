"""What the route adds to a request's prompt, and where the request keeps its context."""
