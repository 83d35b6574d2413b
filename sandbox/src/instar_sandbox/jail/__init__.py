"""The walls of the process platform, a module each, and the order in which they go up (child.py)."""
