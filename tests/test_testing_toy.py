"""A stranger's plugin, built, installed and put through the kit, and three that the registry must survive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import instar_core
from instar_core import registry
from instar_core.errors import ErrorKind, InstarError, Unusable
from instar_core.settings import Settings

TOY = Path(__file__).parent / "toy"


def test_the_toy_keeps_every_law_when_installed_from_its_wheel(toy_site, path_with, tmp_path):
    assert (toy_site / "instar_toy" / "hooks.py").exists()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-rs", "-c", "/dev/null"]
    done = subprocess.run(
        [*command, f"--rootdir={tmp_path}", str(TOY / "tests")],
        env=path_with(toy_site), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


def test_the_toy_is_a_page():
    hooks = (TOY / "src" / "instar_toy" / "hooks.py").read_text().splitlines()
    assert sum(1 for line in hooks if line.strip()) <= 66


def test_the_registry_reads_the_installed_toy(toy_site, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_site))
    entry = registry.entries()["toy"]
    assert (entry.value, entry.distribution, entry.version) == ("instar_toy:SPEC", "instar-toy", "0.1")
    assert registry.spec("toy").title == "Toy disk"


def test_a_plugin_that_cannot_be_imported_is_unusable_and_harms_nobody(tmp_path, stranger, monkeypatch):
    stranger(tmp_path, "toyimport", spec={'"""Toy disks': 'import no_such_module\n"""Toy disks'})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Unusable, match=r"instar-toyimport.*no_such_module"):
        registry.spec("toyimport")
    assert registry.spec("raw").name == "raw"


def test_a_plugin_for_a_later_contract_is_unusable_and_says_so(tmp_path, stranger, monkeypatch):
    stranger(tmp_path, "toylater", spec={"api=(1, 0)": "api=(1, 99)"})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Unusable, match=r"1\.99"):
        registry.spec("toylater")
    (tmp_path / "disk").write_bytes(b"TOYDISK\n")
    with pytest.raises(Unusable, match=r"^the plugin toylater cannot be used: it needs version 1\.99"):
        # A fork server that runs already would not know the new folder.
        instar_core.info(str(tmp_path / "disk"), format="toylater", settings=Settings(sandbox="inline"))


def test_a_format_that_is_only_made_empty_is_not_asked_for_more(tmp_path, stranger, monkeypatch):
    stranger(tmp_path, "toyempty", spec={"Capability.FILL, ": ""})
    monkeypatch.syspath_prepend(str(tmp_path))
    raw, made = str(tmp_path / "raw"), str(tmp_path / "made")
    (tmp_path / "raw").write_bytes(b"content" * 1000)
    instar_core.create(made, format="toyempty", size=1 << 20)
    (tmp_path / "made").unlink()
    for operation in (
        lambda: instar_core.convert([raw], made, source_format="raw", target_format="toyempty"),
        lambda: instar_core.dd(raw, made, source_format="raw", target_format="toyempty"),
    ):
        with pytest.raises(InstarError, match="does not support writing content") as caught:
            operation()
        assert caught.value.kind == ErrorKind.UNSUPPORTED
        assert not (tmp_path / "made").exists()


def test_a_name_claimed_by_two_distributions_is_unusable_and_names_both(tmp_path, stranger, monkeypatch):
    stranger(tmp_path, "toytwice")
    stranger(tmp_path, "toytwice", distribution="other-toy")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Unusable, match="instar-toytwice and other-toy"):
        registry.spec("toytwice")


def test_the_installed_toy_is_found_by_its_own_signature_and_works_end_to_end(toy_site, path_with, tmp_path):
    (tmp_path / "disk.raw").write_bytes(b"content" * 100000 + bytes(300000))
    code = """
import instar_core
instar_core.convert(["disk.raw"], "disk.toy", source_format="raw", target_format="toy")
print(instar_core.info("disk.toy")[0].image.format, instar_core.check("disk.toy").corruptions)
print(instar_core.compare("disk.raw", "disk.toy", first_format="raw").identical)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=path_with(toy_site), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("toy 0\nTrue\n", "")


def test_a_strangers_broken_plugin_does_not_keep_others_from_being_found(tmp_path, stranger, path_with):
    stranger(tmp_path, "toyimport", spec={'"""Toy disks': 'import no_such_module\n"""Toy disks'})
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    code = "import instar_core; print(instar_core.info('disk.raw')[0].image.format)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=path_with(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("raw\n", "")
