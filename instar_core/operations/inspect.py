"""inspect: whether an image from outside may be taken, under a policy, and why not."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import locks, probe, registry
from instar_core.errors import (
    AmbiguousFormat,
    ContractViolation,
    DeviceError,
    ErrorKind,
    FormatError,
    InstarError,
    NotInstalled,
    PolicyError,
    SandboxError,
    UnknownFormat,
)
from instar_core.operations import examining
from instar_core.session import FormatSession
from instar_core.settings import DEFAULTS
from instar_core.verdict import file, judging
from instar_core.verdict.answer import Code, Reason, Verdict
from instar_core.verdict.demands import Demands, Raw
from instar_core.verdict.facts import Facts, subformat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.device import Device
    from instar_core.settings import Settings

OPERATION = "inspect"
ALIASES = {"vhd": "vpc", "gpt": "raw", "ploop": "parallels", "vhd-fixed": "vpc"}
"""What the platforms call formats that instar calls otherwise."""


def inspect(
    path: str, *, policy: str | Demands = "strict", format: str | None = None, settings: Settings = DEFAULTS
) -> Verdict:
    """The verdict on the image at `path`, which was declared to be of `format` (None: nothing was declared).

    `policy` is the name of a ready one, the path of a policy file, or Demands. What the image names is opened only
    where the policy's `references` allow it. Its structure is looked at only where nothing else speaks against it.

    Whatever is wrong with the image, its parser's end by a limit included, is a reason. Raises InstarError where it
    cannot be looked at at all: it cannot be opened, its plugin is not installed, no sandbox can be started.
    """
    demands = policy if isinstance(policy, Demands) else file.chosen(policy)
    declared = ALIASES.get(format, format) if format is not None else None
    if declared is not None:
        registry.require(declared)
    own = bounded(settings, demands)
    opened = devices.open_named(chains.plain(path))
    try:
        if not settings.force_share:
            locks.take(opened, locks.LOOK)
        verdict = Verdict(path, demands.name, False, declared=declared, stored=opened.size, allocated=opened.allocated)
        return _judged(verdict, opened, demands, own)
    except InstarError as error:
        if error.path is None:
            error.path = path
        raise
    finally:
        opened.close()


def bounded(settings: Settings, demands: Demands) -> Settings:
    """The settings with the policy's own for references and limits; no quirk is followed."""
    return settings._replace(
        policy=demands.references,
        unsafe_quirks=False,
        qemu=False,
        cpu=demands.cpu if settings.cpu is None else settings.cpu,
        memory=demands.memory if settings.memory is None else settings.memory,
        timeout=demands.timeout if settings.timeout is None else settings.timeout,
    )


def _judged(verdict: Verdict, opened: Device, demands: Demands, settings: Settings) -> Verdict:
    """The verdict with all that was learned."""
    seen: list[Facts] = []
    with FormatSession([opened], OPERATION, settings) as session:
        try:
            found = _look(verdict, session, demands, settings, seen)
        except (FormatError, ContractViolation, SandboxError) as error:
            found = [reason(error)]
    if not seen:
        return verdict._replace(reasons=tuple(found))
    facts = seen[0]
    verdict = verdict._replace(
        format=facts.info.format,
        virtual_size=facts.info.virtual_size,
        evidence=facts.evidence,
        subformat=subformat(facts.info),
    )
    if not found:
        try:
            examined = examining.examine(facts, opened, demands, settings)
        except (FormatError, ContractViolation, SandboxError, PolicyError, DeviceError) as error:
            found = [reason(error, verdict.filename)]
        else:
            found = list(examined.reasons)
            verdict = verdict._replace(
                stored=examined.stored,
                allocated=examined.allocated,
                content=examined.content,
                chain=examined.chain,
                checked=examined.checked,
            )
    return verdict._replace(accepted=not found, reasons=tuple(found))


def _look(
    verdict: Verdict, session: FormatSession, demands: Demands, settings: Settings, seen: list[Facts]
) -> list[Reason]:
    """Reasons by the file alone. What is known of it is put into `seen`, unless its format is not even known."""
    probed = session.probe()
    try:
        name = probe.decide(probed, settings, verdict.filename)
    except AmbiguousFormat as error:
        return [Reason(Code.AMBIGUOUS, error.message.partition(";")[0])]
    except UnknownFormat:
        if verdict.declared != "raw" or demands.raw != Raw.ANY:
            return [Reason(Code.UNKNOWN, "no format claims the file and nothing shows that it is a raw disk")]
        name = "raw"
    except NotInstalled:
        found = [reason for name in probed.candidates for reason in judging.allowed(name, demands)]
        if not found:
            raise
        return found
    table = session.partitions()
    info = session.info(name)
    certain = all(match.certainty >= probe.CERTAIN for match in probed.matches)
    stored = verdict.stored or 0
    seen.append(Facts(verdict.filename, info, verdict.declared, stored, probed.evidence or "", table, certain))
    return judging.reasons(seen[0], demands)


def reason(error: InstarError, filename: str = "") -> Reason:
    """What an error while an image was read means for it."""
    code = Code.MALFORMED
    if isinstance(error, SandboxError):
        code = Code.LIMITS
    elif isinstance(error, ContractViolation):
        code = Code.PARSER
    elif isinstance(error, PolicyError | DeviceError):
        code = Code.REFERENCE
    elif error.kind == ErrorKind.UNSUPPORTED:
        code = Code.UNSUPPORTED
    where = error.path if error.path is not None and error.path != filename else ""
    return Reason(code, error.message, where, error.offset)
