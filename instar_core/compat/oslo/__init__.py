"""What services of OpenStack take from oslo.utils to look at disk images, with the parsing in a sandbox.

`from oslo_utils import imageutils` becomes `from instar_core.compat.oslo import imageutils`, and
`from oslo_utils.imageutils import format_inspector` becomes
`from instar_core.compat.oslo.imageutils import format_inspector`. docs/openstack.md says what differs.
"""
