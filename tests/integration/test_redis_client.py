"""Clients of Redis that nobody closes."""

import gc

from shared.adapters.redis_client import connect


class _Witness:
    """Part of a cycle of garbage that is finalized before its client, and looks whether the client is connected."""

    def __init__(self, url, seen):
        self.cycle = self
        self.client = connect(url)
        pool = self.client.connection_pool
        self.connection = pool.get_connection()
        pool.release(self.connection)
        self.seen = seen
        self.seen.append(self.connection.is_connected)

    def __del__(self):
        self.seen.append(self.connection.is_connected)


def test_in_a_cycle_of_garbage_a_client_gives_its_connections_back_before_any_socket_is_finalized(redis_server):
    seen = []
    _Witness(redis_server.url, seen)
    gc.collect()
    assert seen == [True, False]
