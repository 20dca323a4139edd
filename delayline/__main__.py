"""``python -m delayline``: the command line."""

import sys

from delayline.entry import main

if __name__ == "__main__":
    sys.exit(main())
