"""`marketstate serve`: metrics, health, states and a live page over HTTP, until a signal.

It reads Redis with the rights of a reader, and is read-only itself.
"""

import argparse
import asyncio
import re
import sys
from pathlib import Path
from typing import Final

from marketstate.worker import log
from marketstate.worker.commands.extras import without_extra
from marketstate.worker.commands.limits import add_limits, limits_of
from marketstate.worker.commands.options import add_namespace
from marketstate.worker.commands.serve.listening import DEFAULT, Address, listening_at, read_address
from marketstate.worker.commands.standard_error import StandardError
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.errors import ConfigurationError, WorkerError
from marketstate.worker.settings import service_manager, settings_from, under_journal

# As the alarm for the oldest entry, in deploy/prometheus.
MAX_AGE_S: Final = 60.0


def add_options(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--listen",
        type=_address,
        default=read_address(DEFAULT),
        metavar="ADDRESS:PORT",
        help=f"where to listen; default: {DEFAULT}",
    )
    where.add_argument(
        "--unix", type=Path, metavar="PATH", help="listen on a unix socket, and on no port"
    )
    parser.add_argument(
        "--beyond-loopback",
        action="store_true",
        help="allow --listen with an address that other machines can reach; needs --host",
    )
    parser.add_argument(
        "--host",
        dest="hosts",
        action="append",
        type=_host,
        default=[],
        metavar="NAME",
        help="another name under which browsers and Prometheus may ask, besides localhost; it can "
        "be given several times",
    )
    parser.add_argument(
        "--per-symbol",
        action="store_true",
        help="/metrics also has the state of each symbol, which is seven series for each and each "
        "interval",
    )
    add_limits(parser, "/healthz says 503", MAX_AGE_S)
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    notifier = SystemdNotifier(*service_manager())
    try:
        with without_extra("web", "serve"):
            # Here, so that --help needs no package.
            from marketstate.worker.commands.serve.guard import LOCAL_HOSTS  # noqa: PLC0415
            from marketstate.worker.commands.serve.server import serve  # noqa: PLC0415
        before_notice = "<4>" if under_journal() else ""
        sys.stderr = StandardError(sys.stderr.fileno(), before_notice=before_notice)
        settings = settings_from(namespace=options.namespace)
        log.configure(settings.log_level, for_journal=under_journal())
        if not options.unix:
            _refuse_beyond_loopback(options.listen, options)
        with listening_at(options.unix or options.listen) as listener:
            asyncio.run(
                serve(
                    settings,
                    listener,
                    (*LOCAL_HOSTS, *_own_host(options), *options.hosts),
                    limits_of(options),
                    notifier,
                    per_symbol=options.per_symbol,
                )
            )
    except WorkerError as error:
        notifier.failed(error)
        raise
    finally:
        log.repeats.tell(at_once=True)
    return 0


def _refuse_beyond_loopback(address: Address, options: argparse.Namespace) -> None:
    if address.ip.is_loopback:
        return
    if not options.beyond_loopback:
        raise ConfigurationError(
            f"--listen {address} can be reached from other machines, and everyone there sees "
            "all states: put a proxy in front (see deploy/systemd/README.md, The page), or give "
            "--beyond-loopback, too"
        )
    if not options.hosts:
        raise ConfigurationError(
            "--beyond-loopback needs --host NAME: the name, or the address, that stands in the "
            "address bar of the browsers"
        )


def _own_host(options: argparse.Namespace) -> tuple[str, ...]:
    """The address itself, such as 127.0.0.2: those who ask for it use no foreign name."""
    is_own = not options.unix and options.listen.ip.is_loopback
    return (options.listen.host,) if is_own else ()


def _address(text: str) -> Address:
    try:
        return read_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be an address and a port, such as {DEFAULT} or [::1]:8043"
        ) from None


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be the name of a host, without a port, such as states.example.com"
        )
    return text
