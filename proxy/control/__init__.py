"""Services that run beside requests: reload, policies, risk watch, drift watch and recording."""
