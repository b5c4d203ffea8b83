"""What this host says about its processes, sockets, clock and services; only looked at, never changed."""
