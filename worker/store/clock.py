"""Redis's clock, the only one that the workers share; scripts read it in worker/lua/clock.lua."""


def clock_ms(time_reply: tuple[int, int]) -> float:
    """The time in ms from the reply to TIME, which is seconds and microseconds."""
    seconds, microseconds = time_reply
    return seconds * 1_000 + microseconds / 1_000
