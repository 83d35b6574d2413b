"""The manual: what the command's own tables say, with the prose beside it, as manual pages and as pages of the site.

`python -m docs.manual`, from the root of a checkout, writes everything anew that is generated; with `--check` it only
says what is not as it would be written. No option stands here: all come from
the tables that command lines are parsed by.
"""
