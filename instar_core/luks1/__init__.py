"""The LUKS1 header, which two formats share: a luks volume begins with one, and an encrypted qcow2 image holds one.

All places are relative to the header's first byte; `base` says where that is in the device. Options are named with
`prefix` before the names that luks itself has ("encrypt." in qcow2).

    header.read(source, base=0, *, detached=False) -> Header  every field checked, in qemu-img's words
    details.details(header, *, detached=False) -> dict        the facts by qemu-img's names, without "format"
    unlock.plan(source, header, base=0) -> KeyPlan            the active key slots with their material
    options.choose(values, prefix="") -> Choice               cipher, key_size, hash, time; defaults where None
    make.order(choice) -> KeyPlan                             what instar_seal answers to Create
    make.size(key_size) -> int                                bytes from the header to the payload
    make.edits(plan, entropy, base=0, *, device=0, payload_offset=None) -> Iterator[Edit]
                                                              material, Barrier, header; `plan` is the filled one
    make.coding(plan) -> Coding                               for Geometry.cipher and ImageInfo.codings
    amend.order(header, values, prefix="", *, force=False) -> KeyPlan
                                                              what instar_seal answers to Amend (state=active)
    amend.edits(header, request, base=0, *, device=0, prefix="") -> Iterator[Edit]
                                                              a key slot more, or key slots less, in safe phases
"""
