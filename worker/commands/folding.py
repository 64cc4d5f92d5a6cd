"""What is the same in several partitions is shown once, with the tags that it is about."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from marketstate.worker.engine.preflight import Finding
from marketstate.worker.engine.tags import ANY_TAG, tags_in_words

# More lines than that, of what is well, are one line with an example.
MOST_WORDINGS: Final = 3


def folded(found: Sequence[tuple[str, Sequence[Finding]]], partitions: int | None) -> list[Finding]:
    """`found` are the findings of each partition, with its tag. Without partitions: as they are."""
    if partitions is None:
        return [finding for _, findings in found for finding in findings]
    tags: dict[Finding, list[str]] = {}
    for name, findings in found:
        for finding in findings:
            alike = Finding(*(part.replace(name, ANY_TAG) for part in finding))
            tags.setdefault(alike, []).append(name)
    wordings = Counter(finding.subject for finding in tags if finding.verdict == "ok")
    shown: dict[Finding, list[str]] = {}
    example_of: dict[str, Finding] = {}
    for finding, names in tags.items():
        line = finding
        if finding.verdict == "ok" and wordings[finding.subject] > MOST_WORDINGS:
            example = finding._replace(text=f"in {names[0]}: {finding.text}")
            line = example_of.setdefault(finding.subject, example)
        others = shown.setdefault(line, [])
        others += [name for name in names if name not in others]
    return [_said_of(finding, names, partitions) for finding, names in shown.items()]


def _said_of(finding: Finding, tags: Sequence[str], partitions: int) -> Finding:
    """With the tags, unless they are all."""
    if len(tags) == 1:
        finding = Finding(*(part.replace(ANY_TAG, tags[0]) for part in finding))
    if len(tags) == partitions:
        return finding
    return finding._replace(
        subject=f"{tags_in_words(tags, partitions)} {finding.subject}", check=finding.checked
    )
