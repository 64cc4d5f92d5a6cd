"""The tests of the live page, in a real browser: `scripts/test-page`."""

import importlib
import sys

import pytest

from tests.page.needs import without
from tests.page.options import parser
from tests.support.documents import ROOT

LACKING = 2


def main() -> int:
    options = parser.parse_args()
    if lacking := list(without()):
        print(f"cannot test the page without {', '.join(lacking)}", file=sys.stderr)
        return LACKING
    if options.pictures:
        # It needs selenium, which may just have been installed.
        importlib.import_module("tests.page.pictures").draw(options.pictures)
        return 0
    words = ["-p", "tests.page.fixtures", "-o", "python_files=check_*.py", str(ROOT / "tests/page")]
    return int(pytest.main([*words, "-rA", *options.pytest]))


if __name__ == "__main__":
    sys.exit(main())
