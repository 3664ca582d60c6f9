"""The proxy: everything that touches the network, a file, a database or a clock."""
