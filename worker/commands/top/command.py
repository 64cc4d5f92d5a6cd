"""`marketstate top`: all markets at a glance, live in the terminal, until `q` or Ctrl-C.

It reads the output stream, and the group if it has permission. It writes nothing.
"""

import argparse
import io
import os
import signal
import sys
import time
from typing import Final

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from marketstate.worker.commands.options import of_interval
from marketstate.worker.commands.terminal_size import Size, terminal_size
from marketstate.worker.commands.top.feed import Feed
from marketstate.worker.commands.top.keyboard import Keyboard
from marketstate.worker.commands.top.screen import ASCII, Marks, Screen, marks_for, rows_on
from marketstate.worker.commands.top.selection import Look
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.settings import Settings, on_dumb_terminal, settings_from
from marketstate.worker.stop import interrupt_on
from marketstate.worker.store import connection

# How soon a resized terminal is noticed, and how often ages are updated.
_TICK_S: Final = 0.25
_REDRAW_S: Final = 1.0


def command(options: argparse.Namespace) -> int:
    settings = settings_from(namespace=options.namespace)
    first = of_interval(settings, options.interval)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError("top needs a terminal; in scripts, use marketstate status --json")
    if on_dumb_terminal():
        raise ConfigurationError(
            "top cannot draw on this terminal: TERM is dumb or not set. Use marketstate status "
            "--watch, or set TERM, for example to xterm"
        )
    # End through `finally`, so that the terminal is restored.
    interrupt_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    marks = ASCII if options.ascii else marks_for(sys.stdout.encoding)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    _watch(settings, first, marks)
    return 0


def _watch(settings: Settings, first: Settings, marks: Marks) -> None:
    """Beginning with the interval of `first`."""
    feed = Feed(first)
    screen = Screen(settings, marks, f"Redis at {connection.address(settings)}")
    feed.start()
    try:
        intervals = [each.candle_interval for each in settings.each_interval]
        look = Look(intervals, first.candle_interval)
        while not look.done:
            _display(settings, feed, screen, look, Console(highlight=False))
            if look.suspended:
                # The terminal is as it was before, until the shell continues us.
                os.killpg(0, signal.SIGTSTP)
                look.suspended = False
    except EOFError:
        return  # the terminal is gone
    finally:
        feed.stop()


def _display(settings: Settings, feed: Feed, screen: Screen, look: Look, console: Console) -> None:
    """Until the user quits or suspends."""
    keys = list[str]()
    drawn_s, drawn_size, drawn_view = 0.0, (0, 0), None
    with Keyboard() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        while not (look.done or look.suspended):
            if feed.failure is not None:
                raise feed.failure
            size, interval = _size_of_terminal(), look.interval
            for key in keys:
                look.press(key, rows_on(size.lines))
            if look.interval != interval:
                feed.follow(of_interval(settings, look.interval))
            view, now_s = feed.view, time.monotonic()
            is_old = now_s - drawn_s >= _REDRAW_S
            if keys or is_old or size != drawn_size or view is not drawn_view:
                console.size = ConsoleDimensions(*size)
                live.update(screen.draw(view, look, size, time.time() * 1_000), refresh=True)
                drawn_s, drawn_size, drawn_view = now_s, size, view
            keys = keyboard.pressed(_TICK_S)


def _size_of_terminal() -> Size:
    size = terminal_size(sys.stdout)
    if size is None:
        raise EOFError  # the terminal is gone
    return size
