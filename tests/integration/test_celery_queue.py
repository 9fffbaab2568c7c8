from contextlib import suppress

import pytest
import structlog

from shared.adapters.celery_queue import CeleryQueue, celery_app
from shared.names import QueueNames
from tests.support.client import eventually
from tests.support.servers import link


@pytest.fixture
def line(redis, redis_server):
    with link(redis_server.url.removeprefix("unix://")) as line:
        yield line


@pytest.fixture
def app(line):
    return celery_app(f"redis://127.0.0.1:{line.port}/0")


@pytest.fixture
def queue(redis, redis_server):
    return CeleryQueue(celery_app(redis_server.url), redis)


def test_a_process_whose_line_died_with_a_message_in_hand_hears_the_next_one(app, line, queue):
    heard = []

    def next_message(connection):
        before = len(heard)

        def drained():
            with suppress(TimeoutError):
                connection.drain_events(timeout=1)
            return heard[before:]

        return eventually(drained)[0]

    with app.connection_for_read() as connection:
        consumer = connection.Consumer([app.amqp.queues[QueueNames.JOBS]], on_message=heard.append)
        # As a worker with one process asks for.
        consumer.qos(prefetch_count=1)
        with consumer:
            queue.ring()
            message = next_message(connection)
            line.cut()
            line.heal()
            # As a worker does: an acknowledgement that fails is only logged.
            message.ack_log_error(structlog.get_logger(), connection.connection_errors)
            queue.ring()
            # One in hand at the end would be sent back over a connection that nobody closes.
            next_message(connection).ack()
