"""Measures instar against qemu-img: the same command line for both, taken in turns, with the results compared."""
