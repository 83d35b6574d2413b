"""The command line: one module a verb, text in and text out. Nothing outside imports it."""
