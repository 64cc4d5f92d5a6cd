"""How close times are shown to people."""

import time


def utc(time_ms: int) -> str:
    """In UTC, such as `2026-11-24 15:40:59`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ms // 1_000))
