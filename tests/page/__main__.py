"""The tests of the live page, in a real browser: `scripts/test-page`."""

import importlib
import sys

import pytest

from tests.page.needs import has_axe, without
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
    judges = has_axe()
    if not judges:
        options.pytest += ["--ignore", str(ROOT / "tests/page/check_accessibility.py")]
    words = ["-p", "tests.page.fixtures", "-o", "python_files=check_*.py", str(ROOT / "tests/page")]
    code = int(pytest.main([*words, "-rA", *options.pytest]))
    if not judges:
        print("without axe-core (apt-get install npm), nobody judged whether all can use the page")
    return code or (0 if judges else LACKING)


if __name__ == "__main__":
    sys.exit(main())
