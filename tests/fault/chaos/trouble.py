"""What says nothing about the workers."""


class HarnessTrouble(Exception):
    """The harness itself failed."""
