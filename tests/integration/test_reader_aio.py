"""The reader for asyncio hands out what the plain one does. What happens to Redis meanwhile is in
tests/fault/test_readers.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
from redis import asyncio as aio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from marketstate.schemas.aio import StateReader
from marketstate.schemas.market_state import UnknownRecord
from marketstate.schemas.reader import OUTPUT_STREAM
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.processes import PATIENCE_S
from tests.support.records import make_record, publish


def publish_numbers(client: redis.Redis, *numbers: int) -> None:
    publish(client, (make_record("BTCUSDT", number) for number in numbers))


def run(server: EmbeddedRedis, use: Callable[[aio.Redis], Awaitable[Any]], **options: Any) -> Any:
    """What `use` returns for a client."""

    async def with_client() -> Any:
        async with aio.Redis(host="127.0.0.1", port=server.port, **options) as client:
            return await asyncio.wait_for(use(client), PATIENCE_S)

    return asyncio.run(with_client())


def reader_of(client: Any, **changes: Any) -> StateReader:
    given: dict[str, Any] = {"group": "sizing", "consumer": "one", "start": "0", "block_ms": 20}
    return StateReader(client, **(given | changes))


async def numbers(reader: StateReader, most: int) -> list[int]:
    found = []
    async for record in reader:
        found.append(record.buffer_size)
        if len(found) == most:
            reader.stop()
    return found


def pending(client: redis.Redis) -> int:
    summary: Any = client.xpending(OUTPUT_STREAM, "sizing")
    return int(summary["pending"])


@pytest.mark.parametrize(
    "options", [{"protocol": 2}, {"protocol": 2, "decode_responses": True}, {"protocol": 3}]
)
def test_states_arrive_in_order_and_are_acknowledged_one_by_one(
    options: dict[str, Any], server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish_numbers(client, *range(5))
    assert run(server, lambda there: numbers(reader_of(there), 2), **options) == [0, 1]
    assert pending(client) == 3
    assert run(server, lambda there: numbers(reader_of(there), 3), **options) == [2, 3, 4]
    assert pending(client) == 0


def test_a_state_whose_body_broke_raised_or_was_cancelled_is_delivered_again_first(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish_numbers(client, 0, 1)

    async def use(there: aio.Redis) -> None:
        async for record in reader_of(there):
            assert record.buffer_size == 0
            break

        async def fail() -> None:
            async for record in reader_of(there):
                raise ValueError(record.symbol)

        with pytest.raises(ValueError, match="BTCUSDT"):
            await fail()
        in_body = asyncio.Event()

        async def wait_for_ever() -> None:
            async for record in reader_of(there):
                assert record.buffer_size == 0
                in_body.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(wait_for_ever())
        await in_body.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await numbers(reader_of(there), 2) == [0, 1]

    run(server, use)


def test_a_reader_that_is_cancelled_while_it_waits_leaves_nothing_out(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    async def use(there: aio.Redis) -> list[int]:
        for _ in range(10):
            task = asyncio.create_task(numbers(reader_of(there, block_ms=200), 99))
            await asyncio.sleep(0.002)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        publish_numbers(client, 0, 1, 2)
        return await numbers(reader_of(there), 3)

    assert run(server, use) == [0, 1, 2]


def test_others_run_while_a_reader_waits(server: EmbeddedRedis, client: redis.Redis) -> None:
    async def use(there: aio.Redis) -> list[int]:
        task = asyncio.create_task(numbers(reader_of(there, block_ms=60_000), 2))
        while not client.exists(OUTPUT_STREAM):
            await asyncio.sleep(0.01)
        publish_numbers(client, 0, 1)
        return await task

    assert run(server, use) == [0, 1]


def test_others_run_while_redis_is_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def block(_seconds: float) -> None:
        raise AssertionError("nobody else can run")

    async def wait_for_it() -> None:
        async with aio.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)) as nowhere:
            task = asyncio.create_task(numbers(reader_of(nowhere), 1))
            while "is away" not in caplog.text and not task.done():
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    monkeypatch.setattr("time.sleep", block)
    asyncio.run(wait_for_it())


def test_entries_of_other_programs_are_skipped_and_counted_or_raised(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    entry_id: Any = client.xadd(OUTPUT_STREAM, {"anything": "else"})
    publish_numbers(client, 0)

    async def use(there: aio.Redis) -> None:
        with pytest.raises(UnknownRecord, match=f"entry {entry_id.decode()} of {OUTPUT_STREAM}: "):
            await numbers(reader_of(there, group="raising", on_unknown="raise"), 1)
        reader = reader_of(there)
        assert await numbers(reader, 1) == [0]
        assert (reader.unknown, reader.last_unknown_id) == (1, entry_id.decode())

    run(server, use)
    assert pending(client) == 0
