"""Where each trick comes from: the CVEs of QEMU's block layer and of those who call it, and which cases play them.

What concerns servers, or devices of a running machine, is named with the reason why no image can play it.
"""

from __future__ import annotations

from collections.abc import Mapping

NOT_APPLICABLE: Mapping[str, str] = {
    "CVE-2014-0150": "virtio-net, a device of a running machine; no image is read",
    "CVE-2017-2630": "a malicious NBD server; instar speaks no NBD, and refuses names that do",
    "CVE-2020-1711": "a malicious iSCSI server; instar speaks no iSCSI",
    "CVE-2020-11947": "a malicious iSCSI server; instar speaks no iSCSI",
    "CVE-2024-7409": "QEMU's own NBD server as it shuts down; instar serves nothing",
    "CVE-2013-1922": "qemu-nbd without a format; the trick itself is CVE-2015-5163's",
    "CVE-2015-1851": "Cinder, which was made to follow a backing file; the trick itself is CVE-2015-5163's",
    "CVE-2024-45219": "CloudStack, which registered what was uploaded; the trick itself is CVE-2024-32498's",
    "CVE-2024-50386": "CloudStack, which registered what was uploaded; the trick itself is CVE-2015-5163's",
    "CVE-2024-44082": "Ironic, which converted what was uploaded; the trick itself is CVE-2024-32498's",
}
"""CVEs that no case of their own plays."""

PLAYED = (
    "CVE-2008-2004",
    "CVE-2014-0142",
    "CVE-2014-0143",
    "CVE-2014-0144",
    "CVE-2014-0145",
    "CVE-2014-0146",
    "CVE-2014-0147",
    "CVE-2014-0148",
    "CVE-2014-0222",
    "CVE-2014-0223",
    "CVE-2015-5162",
    "CVE-2015-5163",
    "CVE-2022-47951",
    "CVE-2024-32498",
    "CVE-2024-40767",
    "CVE-2024-4467",
    "CVE-2026-24708",
)
"""CVEs of which at least one case is the trick, with the field values of the original or of its fix."""
