"""`marketstate record`: writes the entries of a stream to a file.

It reads with XRANGE and never through the group, so nothing in Redis changes. On a signal, the file
is completed and closed; `--resume` continues after its last entry.
"""

import argparse
from pathlib import Path
from typing import Any, Final

import redis

from schemas.entry_id import entry_time_ms, parse_entry_id
from schemas.recording import RecordedEntry
from worker.commands.options import add_namespace, moment
from worker.engine.utc import utc
from worker.errors import ConfigurationError, RedisUnusable, WrongKeyType
from worker.files.piped import STANDARD_OUTPUT, writable_path
from worker.files.recordings import RecordingWriter
from worker.log import configure, log
from worker.settings import Settings, settings_from, under_journal
from worker.stop import Stop
from worker.store import connection, raw_entries
from worker.store.connection import Client
from worker.store.outage import Outage
from worker.store.refusal import is_transient

ENTRIES_AT_ONCE: Final = 500
BLOCK_S: Final = 5.0


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
    configure("INFO", for_journal=under_journal())
    stop = Stop()
    stop.listen()
    stream = _stream(options.stream, settings)
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
    _look_first(settings, stream, options)
    last = None
    is_new = not (options.resume and options.file.exists())
    if is_new:
        writer = RecordingWriter.create(options.file, stream)
    else:
        writer, last = RecordingWriter.resume(options.file, stream)
    recorder = Recorder(settings, stream, writer, stop, last)
    try:
        recorder.record(options.first or "-", options.last or "+", follow=options.follow)
    finally:
        is_in_the_way = is_new and to_file and recorder.count == 0
        if is_in_the_way:
            options.file.unlink()
        writer.close()
        log.info("%s", recorder.summary(options.file))
        if is_in_the_way:
            log.warning("nothing was recorded, so %s was removed again", options.file)
    return 130 if stop.requested and not options.follow else 0


def _look_first(settings: Settings, stream: str, options: argparse.Namespace) -> None:
    """Check before creating a file: does the stream exist, and has it been trimmed?"""
    try:
        with connection.open_client(settings, block_s=0) as client:
            found: Any = client.type(stream)
            match found:
                case b"none" if options.follow or stream != options.stream:
                    # Dead letters and states may still arrive; any other name may be misspelt.
                    log.warning("there is no stream %s yet", stream)
                case b"none":
                    raise RedisUnusable(f"there is no stream {stream}; --follow waits for one")
                case b"stream" if not options.resume:
                    _tell_what_is_trimmed(client, stream, options.first or "0")
                case b"stream":
                    pass
                case kind:
                    raise WrongKeyType(
                        f"the key {stream} holds a {kind.decode()}; only streams can be recorded"
                    )
    except redis.RedisError as error:
        raise connection.unusable(error, settings) from error


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


def _stream(text: str, settings: Settings) -> str:
    named = {
        "input": settings.keys.input,
        "output": settings.output_stream,
        "dead": settings.dead_stream,
    }
    return named.get(text, text)


def _in_words(moment: str) -> str:
    return f"{moment} ({utc(entry_time_ms(moment))} UTC)"


class Recorder:
    """Remembers the last recorded entry. Every read starts with that entry again: as long as it
    still exists, nothing after it can have been trimmed.
    """

    def __init__(
        self,
        settings: Settings,
        stream: str,
        writer: RecordingWriter,
        stop: Stop,
        last: RecordedEntry | None,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._writer = writer
        self._stop = stop
        self._last_id = last.id if last else ""
        self.count = 0

    def record(self, first: str, last: str, *, follow: bool) -> None:
        """Raises WorkerError if Redis or the file cannot be used."""
        try:
            client = self._open()
            outage = Outage(self._settings, log.warning)
            while not self._stop.requested:
                try:
                    if self._record_some(client, first, last):
                        continue
                    if not follow:
                        return
                    self._writer.flush()
                    self._wait(client)
                except redis.RedisError as error:
                    if not is_transient(error):
                        raise
                    outage.note(error)
                    client = connection.retry_transient(self._open, self._stop, outage.note)
                    outage.end()
        except redis.RedisError as error:
            if not self._stop.requested:
                raise connection.unusable(error, self._settings) from error

    def summary(self, path: Path) -> str:
        upto = f"; the last one is {self._last_id}" if self._last_id else ""
        return f"{path}: recorded {self.count:,} entries of {self._stream}{upto}"

    def _open(self) -> Client:
        return raw_entries.open_client(self._settings, block_s=BLOCK_S)

    def _record_some(self, client: Client, first: str, last: str) -> bool:
        """False if there is nothing more for now."""
        since = self._last_id or first
        entries = raw_entries.read(client, self._stream, since, last, ENTRIES_AT_ONCE + 1)
        if self._last_id:
            if entries and entries[0].id == self._last_id:
                del entries[0]
            elif entries:
                log.warning(
                    "entries of %s between %s and %s may have been trimmed before they were "
                    "recorded",
                    self._stream,
                    self._last_id,
                    entries[0].id,
                )
        if not entries:
            return False
        self._writer.add(entries)
        self._last_id = entries[-1].id
        self.count += len(entries)
        return True

    def _wait(self, client: Client) -> None:
        after = self._last_id or "$"
        block_ms = int(BLOCK_S * 1_000)
        self._stop.interrupts(lambda: client.xread({self._stream: after}, 1, block_ms))
