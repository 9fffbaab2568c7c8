"""One job's life in a worker: claim, heartbeat, handler, finish."""
