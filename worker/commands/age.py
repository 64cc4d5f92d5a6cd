"""How long ago something was, in a few characters; the same wherever an age is shown."""


def duration(ms: float) -> str:
    """Short enough for a narrow column: `59s`, `90m`, `31h`, `12d`."""
    seconds = max(0, int(ms // 1_000))
    for length, unit, most in ((1, "s", 100), (60, "m", 100), (3_600, "h", 48)):
        if seconds // length < most:
            return f"{seconds // length}{unit}"
    return f"{seconds // 86_400}d"
