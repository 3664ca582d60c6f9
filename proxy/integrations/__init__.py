"""The gate inside other programs, one file for each host: no server and no store of the proxy's."""
