"""Whether an image from outside may be taken: what is demanded of it, and what is found against it."""
