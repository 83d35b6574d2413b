"""Measures instar against qemu-img: the same command line for both, taken in turns, with the results compared."""

import os
import sys

if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
    sys.path.append(sys.path.pop(0))  # the instar that is measured is the installed one, not the checkout's
