"""Faces of instar for programs that were written for something else."""
