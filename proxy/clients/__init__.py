"""The clients of the proxy: authentication, keys and limits."""
