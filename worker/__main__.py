"""`python -m worker` is `marketstate`."""

import sys

from worker.cli import main

sys.exit(main())
