"""`python -m flows.cli`, as `bin/selfhost` of a home runs it."""

import sys

from flows.cli.main import main

sys.exit(main())
