import importlib.util
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "generate_libc.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="the generator is not part of this copy")
def test_the_generated_declaration_is_what_the_script_writes(capsys):
    pytest.importorskip("pycparser", reason="cffi needs it to read declarations")
    spec = importlib.util.spec_from_file_location("generate_libc", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.TARGET.read_text() == script.generated()


HEAVY = (
    "typing re enum dataclasses inspect functools contextlib collections argparse json socket signal subprocess "
    "threading "
)
LATE = "pathlib tempfile importlib.metadata select queue cffi instar_sandbox.report instar_sandbox.server"


def test_the_start_path_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "before = set(sys.modules)\n"
        "import instar_sandbox\n"
        "program, limits = instar_sandbox.Program('tiny'), instar_sandbox.Limits()\n"
        "with instar_sandbox.start('process', program, [], limits) as session:\n"
        "    session.receive()\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    (tmp_path / "tiny.py").write_text("def prepare(*_): pass\ndef serve(state, channel): channel.send(b'x')\n")
    command = [sys.executable, "-S", "-c", code, str(tmp_path), *sys.path]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not set(made.stdout.split()) & set(f"{HEAVY}{LATE}".split())
    assert "instar_sandbox.jail.child" in made.stdout.split()
