"""Proof that a sandbox holds: hostile programs are run in it, and what they could reach is looked at afterwards."""
