"""Close times as people read them; the same wherever one is shown."""

import time


def utc(time_ms: int) -> str:
    """`2026-11-24 15:40:59`, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ms // 1_000))
