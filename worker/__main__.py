"""`python -m worker` runs `marketstate`."""

import sys

from worker.cli import main

sys.exit(main())
