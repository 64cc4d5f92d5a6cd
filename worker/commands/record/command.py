"""`marketstate record`: writes the entries of a stream, or of all partitions, to a file.

It reads with XRANGE and never through the group, so nothing in Redis changes. On a signal, the file
is completed and closed; `--resume` continues after its last entry.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from marketstate.schemas.entry_id import entry_time_ms, parse_entry_id
from marketstate.worker.commands.options import (
    add_namespace,
    an_interval,
    moment,
    of_interval,
)
from marketstate.worker.commands.record.recorder import Part, Recorder
from marketstate.worker.engine.group import refuse_another_number_if_seen
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.engine.utc import utc
from marketstate.worker.errors import ConfigurationError, RedisUnusable, WrongKeyType
from marketstate.worker.files.piped import STANDARD_OUTPUT, writable_path
from marketstate.worker.files.recording_writer import Lasts, RecordingWriter
from marketstate.worker.keys import Keys
from marketstate.worker.log import configure, log
from marketstate.worker.settings import Settings, settings_from, under_journal
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection
from marketstate.worker.store.connection import Client

_NAMED: Final[Mapping[str, Callable[[Keys], str]]] = {
    "input": lambda keys: keys.input,
    "output": lambda keys: keys.output_stream,
    "dead": lambda keys: keys.dead_stream,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=writable_path,
        metavar="FILE",
        help="gzipped if its name ends in .gz; - is standard output",
    )
    parser.add_argument(
        "--stream",
        default="input",
        metavar="STREAM",
        help="input (the default), output, dead, or the key of any stream",
    )
    parser.add_argument(
        "--interval",
        type=an_interval,
        metavar="I",
        help="with --stream output: record the states of this longer interval, such as 5m",
    )
    when = "an entry id, or a time such as 2026-11-24 or 2026-11-24T15:40 (UTC)"
    parser.add_argument("--from", type=moment, dest="first", metavar="WHEN", help=when)
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--to", type=moment, dest="last", metavar="WHEN", help=when)
    end.add_argument("--follow", action="store_true", help="wait for new entries until a signal")
    parser.add_argument(
        "--resume", action="store_true", help="continue after the last entry of FILE, if it exists"
    )
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    settings = settings_from(namespace=options.namespace)
    if options.interval and options.stream != "output":
        raise ConfigurationError(
            f"--interval is for --stream output, and the stream is {options.stream}"
        )
    settings = of_interval(settings, options.interval)
    configure("INFO", for_journal=under_journal())
    stop = Stop()
    stop.listen()
    parts = _parts(options.stream, settings)
    shown = keys_of_all(settings)
    partitions = None if parts[0].partition is None else len(parts)
    stream = _stream(options.stream, replace(settings, partitions=None).keys)
    if (
        options.first
        and options.last
        and parse_entry_id(options.first) > parse_entry_id(options.last)
    ):
        raise ConfigurationError(
            f"--from {_in_words(options.first)} is after --to {_in_words(options.last)}"
        )
    to_file = options.file != STANDARD_OUTPUT
    if options.resume and not to_file:
        raise ConfigurationError("--resume continues a file; standard output has no entries yet")
    _look_first(parts, options, shown)
    lasts: Lasts = {}
    is_new = not (options.resume and options.file.exists())
    if is_new:
        writer = RecordingWriter.create(options.file, stream, partitions)
    else:
        writer, lasts = RecordingWriter.resume(options.file, stream, partitions)
    for part in parts:
        part.continue_after(lasts.get(part.partition))
    recorder = Recorder(settings, parts, writer, stop)
    try:
        recorder.record(options.first or "-", options.last or "+", follow=options.follow)
    finally:
        is_in_the_way = is_new and to_file and recorder.count == 0
        if is_in_the_way:
            options.file.unlink()
        writer.close()
        log.info("%s: %s", options.file, recorder.summary(_stream(options.stream, shown)))
        if is_in_the_way:
            log.warning("nothing was recorded, so %s was removed again", options.file)
    return 130 if stop.requested and not options.follow else 0


def _look_first(parts: Sequence[Part], options: argparse.Namespace, shown: Keys) -> None:
    """Check before creating a file: do the streams exist, and have they been trimmed?"""
    kinds = [_kind(part, options) for part in parts]
    if "stream" in kinds:
        return  # the other partitions have had no entry yet
    stream = _stream(options.stream, shown)
    # Dead letters and states may still arrive; any other name may be misspelt.
    if options.follow or stream != options.stream:
        log.warning("there is no stream %s yet", stream)
    else:
        raise RedisUnusable(f"there is no stream {stream}; --follow waits for one")


def _kind(part: Part, options: argparse.Namespace) -> str:
    """The type of its key, which is a stream or none."""
    with (
        connection.reporting(part.settings),
        connection.open_client(part.settings, block_s=0) as client,
    ):
        if part.partition == 0:
            refuse_another_number_if_seen(client, part.settings)
        found: Any = client.type(part.stream)
        if found not in (b"none", b"stream"):
            raise WrongKeyType(
                f"the key {part.stream} holds a {found.decode()}; only streams can be recorded"
            )
        if found == b"stream" and not options.resume:
            _tell_what_is_trimmed(client, part.stream, options.first or "0")
        return str(found.decode())


def _tell_what_is_trimmed(client: Client, stream: str, first: str) -> None:
    """Redis 6.2 does not report this."""
    info: Any = client.xinfo_stream(stream)
    trimmed = info.get("entries-added", 0) - info["length"]
    if trimmed > 0 and info["length"] > 0:
        begins = info["first-entry"][0].decode()
        if parse_entry_id(first) < parse_entry_id(begins):
            log.warning(
                "%s starts at %s: %d earlier entries have been trimmed", stream, begins, trimmed
            )


def _parts(text: str, settings: Settings) -> list[Part]:
    """The streams to record: of each partition, unless the key of a stream was given."""
    if text not in _NAMED:
        return [Part(settings, text, None)]
    return [
        Part(part, _stream(text, part.keys), part.partition) for part in settings.each_partition()
    ]


def _stream(text: str, keys: Keys) -> str:
    named = _NAMED.get(text)
    return named(keys) if named else text


def _in_words(moment: str) -> str:
    return f"{moment} ({utc(entry_time_ms(moment))} UTC)"
