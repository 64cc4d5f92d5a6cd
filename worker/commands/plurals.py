"""How counted things are shown to people."""


def counted(number: int, what: str) -> str:
    """`1 state`, `1,440 states`."""
    return f"{number:,} {what}{'s' * (number != 1)}"
