"""The LUKS1 header, which two formats share: a luks volume begins with one, and an encrypted qcow2 image holds one."""
