"""LUKS2, by the LUKS2 On-Disk Format Specification 1.1.1, whose words are used here."""
