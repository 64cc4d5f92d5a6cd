"""A Redis that did not answer when a stop came is not asked again: a node that hangs costs a
time-out for each question.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import redis

from marketstate.worker.commands.gather.gatherer import Gatherer
from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.commands.record.recorder import Part, Recorder
from marketstate.worker.files.recording_writer import RecordingWriter
from marketstate.worker.settings import settings_from
from marketstate.worker.stop import Stop


class Silence:
    def __init__(self) -> None:
        self.stop = Stop()
        self.asked = 0

    def begin(self) -> Any:
        self.asked += 1
        return self

    def work(self, *_: object, **__: object) -> bool:
        self.stop.requested = True
        raise redis.TimeoutError("Timeout reading from socket")


def test_a_gatherer_that_stops_begins_no_other_session() -> None:
    silence = Silence()
    sources = Sources(["a"], "g", "0")
    Gatherer(settings_from({}), sources, silence.begin, Counter(), silence.stop).run()
    assert silence.asked == 1


def test_a_recorder_that_stops_opens_no_other_connection(tmp_path: Path) -> None:
    silence, settings = Silence(), settings_from({})

    class SilentRecorder(Recorder):
        _open = staticmethod(silence.begin)
        _record_some = silence.work

    writer = RecordingWriter.create(tmp_path / "a", "a")
    recorder = SilentRecorder(settings, [Part(settings, "a", None)], writer, silence.stop)
    recorder.record("-", "+", follow=True)
    writer.close()
    assert silence.asked == 1
