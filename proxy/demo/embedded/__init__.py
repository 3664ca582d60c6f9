"""A real model without a key or a server: its weights, fetched and checked, behind llama.cpp's own server."""
