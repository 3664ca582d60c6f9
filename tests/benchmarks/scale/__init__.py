"""Several replicas behind a balancer with a Redis Cluster, on one machine (``make bench-scale``)."""
