"""The program of a stream: what the pieces of it that were kept say of its format, inside the sandbox.

Disk images are recognised and judged here as OpenStack's services do it while they stream by: by a few structures near
the start or the end, one format at a time. Each module holds one `examine`, a pure function of the kept pieces.
"""
