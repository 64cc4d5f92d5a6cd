"""The minimum work: read with redis-py, decode, acknowledge. No state, no output.

`rig` runs it as a process, with a worker's settings.
"""

from typing import Any, Final

import redis

from marketstate.schemas.candle import decode_candle
from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.settings import settings_from

BATCH: Final = 500
BLOCK_MS: Final = 2_000


def main() -> None:
    settings = settings_from()
    stream, group = settings.keys.input, settings.keys.group
    client = redis.Redis(host=settings.redis_host, port=settings.redis_port, protocol=2)
    client.xgroup_create(stream, group, "0", mkstream=True)
    while True:
        reply: Any = client.xreadgroup(
            group, "bare-loop", {stream: ">"}, count=BATCH, block=BLOCK_MS
        )
        for _, entries in reply:
            for entry_id, fields in entries:
                decode_candle(fields, entry_time_ms(entry_id))
            client.xack(stream, group, *(entry_id for entry_id, _ in entries))


if __name__ == "__main__":
    main()
