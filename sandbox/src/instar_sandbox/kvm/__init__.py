"""Stock CPython as a guest with no kernel and no devices: a machine that can ask its host for almost nothing."""
