"""Checks of what the product is deployed with; the tools are in an environment of their own (make test-deploy)."""
