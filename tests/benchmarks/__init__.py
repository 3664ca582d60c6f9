"""What the gate costs: one run beside nginx, LiteLLM's proxy and Portkey's gateway (``make bench``)."""
