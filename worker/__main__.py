"""`python -m marketstate.worker` runs `marketstate`."""

import sys

from marketstate.worker.cli import main

sys.exit(main())
