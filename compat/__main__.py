"""`python -m compat`: the whole, as in run.py."""

import sys

from .run import main

sys.exit(main())
