"""How durations are shown to people."""


def brief_duration(seconds: float) -> str:
    """An age for a narrow column: `59s`, `90m`, `31h`, `12d`."""
    whole = max(0, int(seconds))
    for length, unit, most in ((1, "s", 100), (60, "m", 100), (3_600, "h", 48)):
        if whole // length < most:
            return f"{whole // length}{unit}"
    return f"{whole // 86_400}d"


def precise_duration(seconds: float) -> str:
    """A remaining time in up to two units: `7 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60:02d} min"
