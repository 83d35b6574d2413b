"""Results as text: qemu-img's human and JSON output, one module for each kind of result."""
