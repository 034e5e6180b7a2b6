"""What one call of a tool is given: its program, and the help that its policy grants it.

The same for trials and for calls, so that what was proven is what runs; where they differ (no
secrets in a trial, no warm process for a draft) it is said here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from policies.access import Authorizer, Principal
from policies.authorizers import authorizer_of
from policies.config import PolicyProfile
from policies.evidence import Outcome
from policies.limits import ResourceLimits
from policies.permissions import LintLevel, Permissions
from policies.schema import ToolSchema
from policies.source import ToolSource
from runtime.composition import CallScope, Composition
from sandbox.artefacts import Artefact
from sandbox.base import ApprovedVersion, CallOptions, ExecutionResult, Program, Sandbox
from sandbox.broker.service import NetworkService
from sandbox.files import FileService
from sandbox.services import Service

__all__ = ["Equipment", "Kit"]


@dataclass(frozen=True)
class Kit:
    """The services of one call (or batch), and what they saw."""

    options: CallOptions
    files: FileService | None = None
    network: NetworkService | None = None

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """The files that the call left behind; to be kept only if it returned."""
        return self.files.artefacts if self.files else ()

    def complete(self, result: ExecutionResult) -> ExecutionResult:
        """`result` with what the services saw of the call."""
        seen: dict[str, object] = {}
        if self.network is not None:
            seen["traffic"] = self.network.events
        if self.files is not None and result.outcome is Outcome.RETURNED:
            seen["artefacts"] = tuple(artefact.info for artefact in self.files.artefacts)
        return result.model_copy(update=seen) if seen else result


@dataclass(frozen=True)
class Equipment:
    """Equips calls under one policy."""

    profile: PolicyProfile
    secrets: Callable[[str], str | None]
    """The value of a secret by its name; None where there is none."""

    tenant: str
    """Whose calls these are; two tenants never share a warm container."""

    principal: Principal | None = None
    """Who proposes what is tried, where that is not the tenant."""

    keeps_refusals: bool = True
    """Whether what the policy no longer allows goes to quarantine for everybody; else it is
    refused here alone."""

    @cached_property
    def access(self) -> Authorizer:
        """Who may do what under this policy.

        Raises:
            PolicyConfigError: A Cedar file of it is not exactly understood.
        """
        return authorizer_of(self.profile)

    @property
    def asking(self) -> Principal:
        """Who asks where nobody else is named."""
        return self.principal or Principal.of_person(self.tenant)

    def program(
        self,
        source: ToolSource,
        source_schema: ToolSchema,
        level: LintLevel,
        image: str | None = None,
    ) -> Program:
        """What to run for `source`, in an image with its packages.

        `image` is what `image_digest` gives for it; None is the sandbox's own.
        """
        return Program(
            code=source.code,
            function=source_schema.function,
            level=level,
            limits=self.limits,
            image=image if source.permissions.packages else None,
            sockets=bool(source.permissions.hosts),
        )

    @property
    def limits(self) -> ResourceLimits:
        """Ceilings of every run under this policy."""
        return self.profile.run

    def kit(
        self,
        permissions: Permissions,
        scope: CallScope,
        composition: Composition,
        *,
        calls: int = 1,
        version: str | None = None,
    ) -> Kit:
        """The services for a tool with `permissions`; they serve one call or one batch.

        Args:
            permissions: As declared; the policy has granted them.
            scope: Where the call stands.
            composition: Carries out calls of other tools.
            calls: How many calls share the kit.
            version: Digest of the approved version; None for a draft in its trials.

        Raises:
            FilesRefusedError: The input files do not fit into the ceilings.
        """
        draft = version is None
        files = network = None
        services: list[Service] = []
        if permissions.files:
            files = FileService(
                scope.files,
                self.profile.files,
                declared=permissions.files,
                calls=calls,
                keep=not draft,
            )
            services.append(files)
        if permissions.hosts:
            network = NetworkService(
                permissions,
                self.profile,
                secrets=self.secrets,
                in_trial=draft,
                calls=calls,
            )
            services.append(network)
        seconds = scope.limits(self.limits).wall_seconds
        tools = composition.service(permissions, scope, wall_seconds=seconds, calls=calls)
        if tools is not None:
            services.append(tools)
        options = CallOptions(
            services=tuple(services),
            approved=None if version is None else self._approved(version),
            nested=scope.nested,
            wall_seconds=scope.wall_seconds,
        )
        return Kit(options=options, files=files, network=network)

    def _approved(self, version: str) -> ApprovedVersion | None:
        if self.profile.sandbox.tier != "process":
            return None
        return ApprovedVersion(
            version_digest=version, policy_digest=self.profile.digest, tenant=self.tenant
        )


async def image_digest(
    permissions: Permissions, sandbox: Sandbox, *, wanted: str | None = None
) -> str:
    """Identity of the environment for a tool with `permissions`, made where it is not there yet.

    It is the one that is `wanted`, where that can be had.

    Raises:
        SandboxError: The image with its packages cannot be made.
    """
    if not permissions.packages:
        return sandbox.image_digest
    return await sandbox.image_for(permissions.packages, wanted=wanted)
